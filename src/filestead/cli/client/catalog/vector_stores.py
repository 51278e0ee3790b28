"""The commands of `filestead vector-stores`."""

from filestead.cli.client.catalog.vector_store_flags import (
    CHUNKING_STRATEGY,
    STORE_ID,
    endpoint,
    list_flags,
    max_items,
)
from filestead.cli.client.grammar.model import Command, Flag

_METADATA = Flag("metadata", "Up to 16 pairs of texts, as YAML or JSON: {team: support}", kind="mapping",
                 placeholder="MAPPING", location="body")  # fmt: skip
_EXPIRY = (
    Flag("expires-after", "Expiration policy as YAML or JSON: {anchor: last_active_at, days: 7}; null removes it",
         kind="mapping", placeholder="MAPPING", location="body"),
    Flag("expires-after.anchor", "Time from which the days are counted", placeholder="last_active_at",
         parent="expires-after", suggestions=("last_active_at",)),
    Flag("expires-after.days", "Days until the vector store expires, 1 to 365", kind="integer", placeholder="DAYS",
         parent="expires-after"),
)  # fmt: skip

COMMANDS = (
    Command(
        "vector-stores",
        "create",
        "Create a vector store",
        endpoint=endpoint("POST", ""),
        flags=(
            Flag("name", "Name of the vector store", placeholder="NAME", location="body"),
            Flag("description", "Description of the vector store", placeholder="TEXT", location="body"),
            Flag("file-id", "ID of a file to attach", placeholder="ID", location="body", wire="file_ids",
                 repeatable=True),
            CHUNKING_STRATEGY,
            *_EXPIRY,
            _METADATA,
        ),
        description="Prints the vector store. Its files are indexed after the response: status is completed when no "
        "file is in progress. Further members of the request can be piped in as YAML or JSON; flags override them.",
        examples=(
            ("Create a vector store with a file and print its ID", "filestead vector-stores create --name manuals "
             "--file-id file-abc123 -r --transform id"),
            ("Create one that expires seven days after its last use", "filestead vector-stores create --name inbox "
             "--expires-after.anchor last_active_at --expires-after.days 7"),
        ),
    ),
    Command(
        "vector-stores",
        "retrieve",
        "Show a vector store",
        endpoint=endpoint("GET", "/{vector_store_id}"),
        flags=(STORE_ID,),
        examples=(
            ("Show how many files are indexed", "filestead vector-stores retrieve vs_abc123 --transform file_counts"),
        ),
    ),
    Command(
        "vector-stores",
        "update",
        "Change the name, expiration policy or metadata of a vector store",
        endpoint=endpoint("POST", "/{vector_store_id}"),
        flags=(
            STORE_ID,
            Flag("name", "New name; null removes it", kind="nullable", placeholder="NAME", location="body"),
            *_EXPIRY,
            _METADATA,
        ),
        examples=(
            ("Rename a vector store", "filestead vector-stores update vs_abc123 --name handbooks"),
            ("Keep it without a time limit", "filestead vector-stores update vs_abc123 --expires-after null"),
        ),
    ),
    Command(
        "vector-stores",
        "list",
        "List vector stores, newest first",
        endpoint=endpoint("GET", "", "pages"),
        flags=list_flags("vector stores"),
        description="Prints one vector store after another and fetches all pages; --format raw prints the first page "
        "unchanged.",
        examples=(("Print the ID and name of each", "filestead vector-stores list --format jsonl "
                   "--transform '{id,name}'"),),
    ),
    Command(
        "vector-stores",
        "delete",
        "Delete a vector store; its files are kept",
        endpoint=endpoint("DELETE", "/{vector_store_id}"),
        flags=(STORE_ID,),
        examples=(("Delete a vector store", "filestead vector-stores delete vs_abc123"),),
    ),
    Command(
        "vector-stores",
        "search",
        "Search the files of a vector store",
        endpoint=endpoint("POST", "/{vector_store_id}/search", "page"),
        flags=(
            STORE_ID,
            Flag("query", "What to search for: a text, or a list of texts as YAML or JSON", kind="any",
                 placeholder="QUERY", location="body", required=True),
            Flag("filters", "Search only files with such attributes, as YAML or JSON: "
                 "{type: eq, key: author, value: ann}", kind="mapping", placeholder="MAPPING", location="body"),
            Flag("max-num-results", "Maximum number of results, 1 to 50", kind="integer", placeholder="N",
                 location="body"),
            Flag("ranking-options", "Ranking as YAML or JSON: {ranker: auto, score_threshold: 0.5}", kind="mapping",
                 placeholder="MAPPING", location="body"),
            Flag("ranking-options.ranker", "Name of the ranker", placeholder="RANKER", parent="ranking-options",
                 suggestions=("auto", "none", "default-2024-11-15")),
            Flag("ranking-options.score-threshold", "Lowest score of a result, 0 to 1", kind="number",
                 placeholder="SCORE", parent="ranking-options"),
            Flag("rewrite-query", "Let the server rewrite the query for the search", kind="switch", location="body"),
            max_items("results"),
        ),
        description="Prints one result after another, the best first. A query is YAML: put a text with a colon, a "
        "number or a leading special character in quotes of its own, as in the second example.",
        examples=(
            ("Print the file name and score of the five best results", "filestead vector-stores search vs_abc123 "
             "--query 'reset the password' --max-num-results 5 --format jsonl --transform '{filename,score}'"),
            ("Search for a text with a colon", "filestead vector-stores search vs_abc123 --query '\"error: 42\"'"),
            ("Search the files of one author, for either of two texts", "filestead vector-stores search vs_abc123 "
             "--query '[password, login]' --filters '{type: eq, key: author, value: ann}'"),
        ),
    ),
)  # fmt: skip
