// Commands and programs that do what the page shows. They read the key from the environment and never contain it.
const quote = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

export function fileSnippets(file) {
  const base = `${location.origin}/v1`;
  const name = JSON.stringify(file.filename);
  return {
    curl: `curl ${base}/files/${file.id}/content \\\n  -H "Authorization: Bearer $OPENAI_API_KEY" \\\n  -o ${quote(`./${file.filename}`)}`,
    Python: [
      'from openai import OpenAI',
      '',
      `client = OpenAI(base_url="${base}")`,
      `file = client.files.retrieve("${file.id}")`,
      `client.files.content("${file.id}").write_to_file(${name})`,
    ].join('\n'),
    Node: [
      "import { writeFile } from 'node:fs/promises';",
      "import OpenAI from 'openai';",
      '',
      `const client = new OpenAI({ baseURL: '${base}' });`,
      `const content = await client.files.content('${file.id}');`,
      `await writeFile(${name}, Buffer.from(await content.arrayBuffer()));`,
    ].join('\n'),
    CLI: `OPENAI_BASE_URL=${base} \\\n  filestead files content ${file.id} -o ${quote(`./${file.filename}`)}`,
  };
}
