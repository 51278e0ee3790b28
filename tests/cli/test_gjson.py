"""GJSON paths: what they lead to, spelled as the server spelled it."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filestead.cli.client.formats.gjson import UnsupportedPath, select
from filestead.cli.client.formats.json_text import format_compact, parse
from tests.cli.commandline import CommandLine
from tests.cli.stub import Stub

DOCUMENT = r"""{
  "id": "file-1", "name": "\u00fc\/x", "price": 1.50, "big": 12345678901234567890123, "quoted": "a\"b", "on": true, "off": false,
  "none": null, "empty": "", "dotted.name": 3, "list": [{"id": "x", "n": 1, "tags": ["p", "q"]}, {"id": "y", "n": 2, "tags": []}],
  "numbers": [3, 1.0, 2e0], "text": "{\"a\": [1, 2.50]}", "nested": {"b": {"c": [[1], [2, 3]]}, "a": 1}, "price": 2
}"""


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("id", '"file-1"'),
        ("name", r'"\u00fc\/x"'),
        ("price", "1.50"),
        ("big", "12345678901234567890123"),
        ("quoted", r'"a\"b"'),
        ("on", "true"),
        ("off", "false"),
        ("none", "null"),
        ("empty", '""'),
        (r"dotted\.name", "3"),
        ("pri*", "1.50"),
        ("??", '"file-1"'),
        ("numbers.#", "3"),
        ("numbers.1", "1.0"),
        ("numbers.2", "2e0"),
        ("list.#", "2"),
        ("list.#.id", '["x","y"]'),
        ("list.1.id", '"y"'),
        ("list|1|id", '"y"'),
        ('list.#(id=="y").n', "2"),
        ("list.#(n>0)#.id", '["x","y"]'),
        ("list.#(n>1)#|0.id", '"y"'),
        ('list.#(id%"*").tags.1', '"q"'),
        ('list.#(tags.#(=="q")).id', '"x"'),
        ("nested.b.c.1.0", "2"),
        ("nested.@this.a", "1"),
        ("{id,price}", '{"id":"file-1","price":1.50}'),
        ('{"n":name,p:price}', r'{"n":"\u00fc\/x","p":1.50}'),
        ("[name,price,none]", r'["\u00fc\/x",1.50,null]'),
        ("numbers|@reverse", "[2e0,1.0,3]"),
        ("nested.b.c|@flatten", "[1,2, 3]"),
        ("nested.b.c|@ugly", "[[1],[2,3]]"),
        ("nested|@keys", '["b","a"]'),
        ("nested|@keys|1", '"a"'),
        ("list.0|@values", '["x",1,["p", "q"]]'),
        ("numbers|@values", "[3, 1.0, 2e0]"),
        ("numbers|@keys", "[null,null,null]"),
        ("price|@keys", "[null]"),
        ("nope|@keys", "[]"),
        ("price|@values", "[1.50]"),
        ("{id:list.#.id,n:list.#.n}|@group", '[{"id":"x","n":1},{"id":"y","n":2}]'),
        ("list|@join", '{"id":"y","n":2,"tags":[]}'),
        ('list|@join:{"preserve":true}', '{"id": "x", "n": 1, "tags": ["p", "q"],"id": "y", "n": 2, "tags": []}'),
        ("price|@tostr", '"1.50"'),
        ("name|@tostr", r'"\"\\u00fc\\/x\""'),
        ("text|@fromstr", '{"a": [1, 2.50]}'),
        ("text|@fromstr|a.1", "2.50"),
        ("nested.a|@tostr|@fromstr", "1"),
        ("id|@fromstr", "file-1"),
        ("price|@fromstr", "1.5"),
        ("big|@fromstr", "12345678901234567890123"),
        ("numbers.2|@fromstr", "2"),
        ("on|@fromstr", "true"),
        ("nested|@pretty", '{\n  "b": {\n    "c": [[1], [2, 3]]\n  },\n  "a": 1\n}\n'),
        ('nested|@pretty:{"sortKeys":true}', '{\n  "a": 1,\n  "b": {\n    "c": [[1], [2, 3]]\n  }\n}\n'),
    ],
)  # fmt: skip
def test_paths(path: str, found: str) -> None:
    assert select(DOCUMENT, path) == found


@pytest.mark.parametrize(
    "path",
    [
        "nope",
        "id.x",
        "list.9",
        "list.#(n>9)",
        "none|@fromstr",
        "@nope",
        "list.#(n>1",
        "[",
        "{",
        "\\",
        "|",
    ],
)
def test_paths_that_lead_nowhere(path: str) -> None:
    assert select(DOCUMENT, path) is None


OBJECTS = '{"q":[{"m":null,"id":1},{"m":2,"id":2},{"id":3}],"l":[1,2,null],"o":{"x":1,"-1":5},"s":"a,b"}'


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ('!"hi"', '"hi"'),
        ("!true", "true"),
        ("s|!5.50", "5.50"),
        ('{s,"k":!"a,}b"}', '{"s":"a,b","k":"a,}b"}'),
        ("[!null,s,nope]", '[null,"a,b"]'),
        ('{"k":!{"x":[1]},o.x}.k.x.0', "1"),
        ('{"k":{"deep":!1}}.k', '{"deep":1}'),
        ("@dig:id", "[1,2,3]"),
        ("o|@dig:x", "[1]"),
        ("q.@dig:id", "[1,2,3]"),
        ("q|@dig:id|@reverse|0", "3"),
        ("@dig:nope", "[]"),
        ('{"ids":@this|@dig:id,s}', '{"ids":[1,2,3],"s":"a,b"}'),
        ("o.@keys", '["x","-1"]'),
        ("q.#(m==~null)#.id", "[1,3]"),
        ("q.#(m==~null)#", '[{"m":null,"id":1},{"id":3}]'),
        ("q.#(m==~null)#|1.id", "3"),
        ("q.#(m==~null).id", "1"),
        ("q.#(m!=~null)#.id", "[2]"),
        ("q.#(m==~*)#.id", "[1,2]"),
        ("q|#(m!=~*)#.id", "[3]"),
        ("l.#(==~null)#", "[null]"),
        ("o.-1", "5"),
    ],
)
def test_literals_digging_and_tildes(path: str, found: str) -> None:
    assert select(OBJECTS, path) == found


SEVERAL = (
    '{"data":[{"id":"a","bytes":5,"ok":true,"tags":["x","y"],"m":{"k":1}},{"id":"b","bytes":50,"ok":false,"tags":["y"],'
    '"m":{"k":2}},{"id":"c","bytes":500,"tags":[],"m":null}],"n":1.50,"s":"x.y","js":"{\\"q\\":[1,2]}","a.b":{"c":1},"":2,"@x":3}'
)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        # Names and wildcards: the first name that leads to a value counts.
        ("*.c", "1"),
        ("*.#.id", '["a","b","c"]'),
        ("d*a.1.i?", '"b"'),
        (r"a\.b.c", "1"),
        ("a?b", '{"c":1}'),
        (r"\n", "1.50"),
        ("n\\", "1.50"),
        ("@x", "3"),
        ("[]", "[2]"),
        ("{}", '{"":2}'),
        # Indices.
        ("data.01.id", '"b"'),
        ("data.+1", None),
        ("data.1e0", None),
        ("data.99999999999999999999", None),
        ("data[0]", None),
        ("data.[0]", '[{"id":"a","bytes":5,"ok":true,"tags":["x","y"],"m":{"k":1}}]'),
        # Each item.
        ("data.#.tags.#", "[2,1,0]"),
        ("data.#.tags.0", '["x","y"]'),
        ('data.#.tags.#(=="y")', '["y","y"]'),
        ("data.#.nope", "[]"),
        ("data.#.nope|0", None),
        ("data.#.id|1", '"b"'),
        ("data.#.id.0", "[]"),
        ("data.#|@tostr", '"3"'),
        ("data.##", None),
        ('data.#.!"z"', '["z","z","z"]'),
        ('data.#.{id,"z":!1}', '[{"id":"a","z":1},{"id":"b","z":1},{"id":"c","z":1}]'),
        ("data.#.m.@keys", '[["k"],["k"],[null]]'),
        ("data.#.tags.@reverse", '[["y","x"],["y"],[]]'),
        ("data.#.tags|@flatten", '["x","y","y"]'),
        ("data.#.@dig:k", "[[1],[2],[]]"),
        # Queries.
        ("data.#(bytes>=50)#.id", '["b","c"]'),
        ("data.#(bytes=50).id", '"b"'),
        ("data.#(bytes<6).id", '"a"'),
        ('data.#( id != "a" )#.id', '["b","c"]'),
        ('data.#(id!%"a*")#.id', '["b","c"]'),
        ('data.#(id>"a")#|#', "2"),
        ("data.#(ok)#.id", '["a","b"]'),
        ("data.#(ok!=true)#.id", '["b"]'),
        ("data.#(ok!=~true)#.id", '["b","c"]'),
        ("data.#(ok==~false)#.id", '["b","c"]'),
        ("data.#(m==null)#", "[]"),
        ("data.#(tags.#>1).id", '"a"'),
        ("data.#(tags.#==0).id", '"c"'),
        ('data.#(tags.#(=="y"))#.id', '["a","b"]'),
        ("data.#(m.k>=1)#.m.k", "[1,2]"),
        ("data.#[bytes>10]#.id", '["b","c"]'),
        ("data.#()#", "[]"),
        ("data.#()", None),
        ("data.#(bytes>10)|id", '"b"'),
        ("data.#(bytes>10)#|0.id", '"b"'),
        ("data.#(bytes>10)#.{id}", '[{"id":"b"},{"id":"c"}]'),
        ("data.#(bytes>10)#.@this.id", '["b","c"]'),
        ("data.#(nope==1)#", "[]"),
        ("data.#(id>~null)#", "[]"),
        ("data.#(id==~hi)#", "[]"),
        # Modifiers and what follows them.
        ("@keys.0", '"data"'),
        ("@keys|#", "7"),
        ("data|@reverse.0.id", '"c"'),
        ("data.0.@reverse", '{"m":{"k":1},"tags":["x","y"],"ok":true,"bytes":5,"id":"a"}'),
        ("data|@this|@this.0.id", '"a"'),
        ("data|@group", None),
        ("js|@fromstr.q.1", "2"),
        ("data.0.m|@fromstr", '{"k":1}'),
        ("data.0|@tostr|@fromstr|id", '"a"'),
        ("nope|@tostr", '""'),
        ('data|@flatten:{"deep":true}|#', "3"),
        # Multipaths.
        ("{n,nope}", '{"n":1.50}'),
        ('{"a":{"b":n}}.a.b', "1.50"),
        ("[n,[s]]|1.0", '"x.y"'),
        ('{"x":data.#(id=="b").m.k,s}', '{"x":2,"s":"x.y"}'),
        ("{data.#.id|@reverse|0}", '{"0":"c"}'),
        ("data.0|{id,m.k}", '{"id":"a","k":1}'),
        ("nope|{id}", "{}"),
        # Lines.
        ("..#", "1"),
        ("..0.n", "1.50"),
        ("..#.n", "[1.50]"),
        ("..1", None),
        # What leads nowhere.
        ("data..0", None),
        (".n", None),
        ("n.", None),
        ("n|", None),
        ("data 0", None),
        (" n", None),
        ("n|@nope", None),
        ("data.0.id|@upper", None),
    ],
)
def test_paths_as_the_official_client_reads_them(path: str, found: str | None) -> None:
    assert select(SEVERAL, path) == found


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("l.-1", "the index -1 is negative"),
        ("l.-0", "the index -0 is negative"),
        ("q.-2.id", "the index -2 is negative"),
        ("q|-1", "the index -1 is negative"),
        ("!hi", "the literal !hi is not JSON"),
        ('{"a":!yes}', "the literal !yes is not JSON"),
        ("l.#.!hi", "the literal !hi is not JSON"),
        ("o|!tru", "the literal !tru is not JSON"),
    ],
)
def test_what_is_not_evaluated_has_a_reason(path: str, reason: str) -> None:
    with pytest.raises(UnsupportedPath) as caught:
        select(OBJECTS, path)
    assert reason in str(caught.value)


@pytest.mark.parametrize("path", ["l.9", "q.#(m==~null)#.id.9", "nope.#(m==~null)#", "s.#(m==~null)", 'o.x"-1"'])
def test_what_has_none(path: str) -> None:
    assert select(OBJECTS, path) in {None, "[]"}


def test_a_path_that_cannot_be_evaluated_fails(stubbed: CommandLine, stub: Stub) -> None:
    stub.responses = [(200, '{"data":[{"l":[1]},{"l":[2]}],"has_more":false}')]
    done = stubbed("files", "list", "--transform", "l.-1")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("filestead: --transform: the index -1 is negative; ")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text("abcdé_-", min_size=1, max_size=6), JSON, min_size=1), st.data())
def test_each_member_is_found_as_it_is_spelled(document: dict[str, object], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(document)))
    found = select(json.dumps(document), name)
    assert found is not None
    assert found == json.dumps(document[name])


@given(st.text(alphabet=r"ab01.#|@()[]{}!~*?\":,=<>%", max_size=16))
def test_no_path_breaks_anything(path: str) -> None:
    found = None
    with contextlib.suppress(UnsupportedPath):
        found = select('{"a":{"b":[1,{"a":"x"}]},"b":"y"}', path)
    assert found is None or isinstance(found, str)


@given(
    st.sampled_from(["@keys", "@values", "@group", "@join", "@fromstr", "@tostr", "@pretty", "@this", "@ugly"]), JSON
)
def test_modifiers_take_every_value(modifier: str, document: object) -> None:
    found = select(json.dumps(document), modifier)
    assert found is None or found == "" or parse(found) is not None


def test_a_path_that_leads_nowhere_prints_the_whole(cli: CommandLine) -> None:
    (cli.folder / "a.txt").write_text("x")
    made = cli("files", "create", "--file", "a.txt", "--purpose", "user_data", "--format", "jsonl")
    again = cli("files", "retrieve", json.loads(made.out)["id"], "--format", "jsonl", "--transform", "nope")
    assert (again.code, again.out) == (0, made.out)
    value = parse(again.out)
    assert value is not None
    assert again.out == format_compact(value) + "\n"
