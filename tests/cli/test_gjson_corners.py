"""GJSON paths in the corners of the syntax: what follows a literal, queries that select nothing, and brackets that stay open.

The expected values are those of the library in the official client.
"""

import pytest

from filestead.cli.client.formats.gjson import UnsupportedPath, select
from tests.cli.test_gjson import SEVERAL

ARRAY = '[{"id":1,"n":"x"},{"id":2,"n":null,"t":true},3,"str",false,[4,[5]]]'
NESTED = '{"b":{"c":[[1],[2, 3]]},"a":[]}'


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ('!"hi".a', '"hi"'),
        ('!"hi"|@tostr', '"hi"'),
        ('data.#.!"z".x', '["z","z","z"]'),
        ("![1,2].1", "2"),
        ("![1,2]x", "[1,2]"),
        ('!{"a":{"b":7}}.a.b', "7"),
        ('!{"a":1}@this', '{"a":1}'),
        ("!true.x", None),
        ("!null|@tostr", '"null"'),
        ('n|!"x"y', '"x"'),
        ("@keys:{}.0", '"data"'),
        ('@ugly:"a|b"|n', "1.50"),
        ("data|@flatten:deep|#", "3"),
        ("n|@this:a.b|@tostr", '"1.50"'),
        ("{n}s", '"x.y"'),
        ("[n]s", '"x.y"'),
        ("{n}@x", "3"),
        ("{n", "2"),
        ("[s,n", "2"),
        ("{|n", "2"),
        ("[|#", "2"),
        ("data.#(bytes>5)#x.id", '["b","c"]'),
        ("data.#(bytes>5)x|id", '"b"'),
        ("data.#(bytes>5)#x|#", "2"),
        ("data.#(bytes>5000)#.id", "[]"),
        ("data.#(bytes>5000)#.id|#", "[]"),
        ("data.#(bytes>5000)#|#", "0"),
        ("data.#(bytes>5000).id|@tostr", None),
        ("data.#(bytes>5000)|@tostr", '""'),
        ('data.0.tags.#(=="x"', '"x"'),
        ("data.0.tags.#(", '"x"'),
        ('data.#(id=="a"', None),
        (r"data.\0", None),
        (r"data.\0.id", None),
        ("data.?", None),
        ("data.*.id", None),
        (r"data.0\.id", None),
        ("data.#.{id}.id", '["a","b","c"]'),
        ('data.#.{id,"k":m.k}|1.k', "2"),
        ("data.#.{id}.id|@tostr", r'["\"a\"","\"b\"","\"c\""]'),
        ("data.#(ok>=true)#.id", '["a"]'),
        ("data.#(ok>=false)#.id", '["a"]'),
        ("data.#(ok>false)#.id", '["a"]'),
        ("data.#(ok>true)#.id", "[]"),
        ("data.#(ok<=true)#.id", '["b"]'),
        ("data.#(ok<=false)#.id", '["b"]'),
        ("data.#(ok<true)#.id", '["b"]'),
        ("data.#(ok<false)#.id", "[]"),
        ("data.#(ok<=5)#.id", '["b"]'),
        ("data.#(ok!=false)#.id", '["a"]'),
        ('data.#(ok!="false")#.id', '["a"]'),
        ('data.#(bytes<="50")#.id', '["a","b"]'),
        ("data.#(bytes>x)#.id", '["a","b","c"]'),
        ('data.#(id<="b")#.id', '["a","b"]'),
        ('data.#(id%"?")#.id', '["a","b","c"]'),
        ('data.#(id!%"[ab]")#.id', '["a","b","c"]'),
        ('data.#(tags.0=="y").id', '"b"'),
        ("data.#(tags)#.id", '["a","b","c"]'),
        ("data.#(m)#.id", '["a","b","c"]'),
        ("data.#(m.k)#.id", '["a","b"]'),
        ("data.#(m.k!=1)#.id", '["b"]'),
        ('data.#(@this.id=="b").bytes', "50"),
        ("data.#(@keys.#==5)#.id", '["a","b"]'),
        ('data.#(tags.#(=="x"))#|0.bytes', "5"),
        ("data.#.m.k|@reverse", "[2,1]"),
        ("data.#.@keys.#", "[5,5,4]"),
        ("data.#.tags|@flatten|#", "3"),
        ("data|#.id", '["a","b","c"]'),
        ("data|#", "3"),
        ("data.#|#", None),
        ("data.#.#", "[]"),
        ("js|@fromstr|@keys", '["q"]'),
        ("js|@tostr|@fromstr|@fromstr|q", "[1,2]"),
        ("s|@fromstr", None),
        ("n|@fromstr", "1.5"),
        ("@values.#", "7"),
        (r"a\.b|@values", "[1]"),
        ('{"x":{n},"y":[s,n]}', '{"x":{"n":1.50},"y":["x.y",1.50]}'),
        ('{"x":{n},"y":[s,n]}|@ugly|y.1', "1.50"),
        ('[data.#(id=="b"),n].0.id', '"b"'),
        ("[data.0.id,data.1.id]|@reverse", '["b","a"]'),
        ('{"a,b":n,"c:d":s}', '{"a,b":1.50,"c:d":"x.y"}'),
        (r'{"a\"b":n}', r'{"a\"b":1.50}'),
        ("{n:s}", '{"n":"x.y"}'),
        ("{@this.n}", '{"n":1.50}'),
        ('{data.#(id=="a").bytes}', '{"bytes":5}'),
        ("{n|@tostr}", '{"@tostr":"1.50"}'),
        ("{data.0.tags.#}", '{"_":2}'),
        ("..#.data.#", "[3]"),
        ("data.@reverse.0.@keys.1", '"bytes"'),
        ("d?t?.0.id", '"a"'),
        ("*.0.id", '"a"'),
        (r"\data.0.id", '"a"'),
        (r"a\.b.\c", "1"),
        ("@x|@tostr", '"3"'),
        (r"\@x", "3"),
    ],
)
def test_corners_in_an_object(path: str, found: str | None) -> None:
    assert select(SEVERAL, path) == found


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("#.id", "[1,2]"),
        ("#.n", '["x",null]'),
        ("#(id>1)#.n", "[null]"),
        ("#(>2)#", '[3,"str"]'),
        ('#(=="str")', '"str"'),
        ("#(==3)", "3"),
        ("#(==false)", "false"),
        ("#(!=true)#", '[3,"str",false]'),
        ("#(t)", '{"id":2,"n":null,"t":true}'),
        ("#(t==true).id", "2"),
        (r"\|@tostr", '""'),
        ("x|@tostr", '""'),
        ("x.@tostr", '""'),
        ("x.{id}", "{}"),
        ("x#y.{id}", None),
        (r"id\.x", None),
        ("5.1.0", "5"),
        ("5.#", "2"),
        ("5.1.#", "1"),
        ("#.0", "[4]"),
        ("#.#", "[2]"),
        ("1.n", "null"),
        ("1.t|@tostr", '"true"'),
        ("3.x", None),
        ("@flatten", '[{"id":1,"n":"x"},{"id":2,"n":null,"t":true},3,"str",false,4,[5]]'),
        ('@flatten:{"deep":true}', '[{"id":1,"n":"x"},{"id":2,"n":null,"t":true},3,"str",false,4,5]'),
        ('@flatten:{"deep":false}', '[{"id":1,"n":"x"},{"id":2,"n":null,"t":true},3,"str",false,4,[5]]'),
        ("@join", '{"id":2,"n":null,"t":true}'),
        ('@join:{"preserve":true}', '{"id":1,"n":"x","id":2,"n":null,"t":true}'),
        ("@group", None),
        ("@keys", "[null,null,null,null,null,null]"),
        ("@reverse.0", "[4,[5]]"),
    ],
)
def test_corners_in_an_array(path: str, found: str | None) -> None:
    assert select(ARRAY, path) == found


@pytest.mark.parametrize("path", ["@this:x", "@ugly:[1]s", "@valid:{}@keys", "{n}@this", "..0"])
def test_what_follows_an_argument_is_ignored(path: str) -> None:
    assert select(SEVERAL, path) == (None if path.startswith("{") else SEVERAL)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ('{"indent":"\t"}', '{\n\t"b": {\n\t\t"c": [[1], [2, 3]]\n\t},\n\t"a": []\n}\n'),
        ('{"indent":"a b"}', '{\n "b": {\n  "c": [[1], [2, 3]]\n },\n "a": []\n}\n'),
        ('{"indent":"","prefix":"\t"}', '{\n\t"b": {\n\t"c": [[1], [2, 3]]\n\t},\n\t"a": []\n\t}\n'),
        (
            '{"width":12}',
            '{\n  "b": {\n    "c": [\n      [1],\n      [2, 3]\n    ]\n  },\n  "a": []\n}\n',
        ),
        (
            '{"width":10,"sortKeys":true}',
            '{\n  "a": [],\n  "b": {\n    "c": [\n      [\n        1\n      ],\n      [\n        2,\n        3\n      ]\n    ]\n  }\n}\n',
        ),
        ('{"nope":1}', '{\n  "b": {\n    "c": [[1], [2, 3]]\n  },\n  "a": []\n}\n'),
    ],
)  # fmt: skip
def test_options_of_pretty(options: str, found: str) -> None:
    assert select(NESTED, f"@pretty:{options}") == found


@pytest.mark.parametrize("path", ["!5.x", "!5|@tostr", "!-1.5]", "n|!12x", "[!7|n]", "data.#.!3.id"])
def test_a_number_ends_a_path(path: str) -> None:
    with pytest.raises(UnsupportedPath, match=r"begins with a number, which must be the end of the path"):
        select(SEVERAL, path)


@pytest.mark.parametrize("path", ["!truey", "!nul", '!"open', "![1,2", '!{"a"}', "!+5", "!NaN5", "!Infinity"])
def test_a_literal_that_is_not_json(path: str) -> None:
    with pytest.raises(UnsupportedPath, match="is not JSON; a text needs double quotes"):
        select(SEVERAL, path)
