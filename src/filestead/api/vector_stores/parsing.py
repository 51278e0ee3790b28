"""Requests on vector stores as objects of the domain, with the limits that the official description states."""

from filestead.api.http.errors import bad_request
from filestead.api.http.json_body import JsonObject, invalid_value, require_bounds
from filestead.api.http.messages import Request
from filestead.api.http.query import parse_integer, parse_query
from filestead.domain.vector_stores.filters import parse_filter
from filestead.domain.vector_stores.model import Attributes, Chunking, NewAttachment, PageRequest, StoreChanges
from filestead.domain.vector_stores.search import SearchQuery
from filestead.domain.vector_stores.service import NewStoreForm

MAX_LIMIT = 100
MAX_FILES_AT_CREATION = 500
MAX_BATCH_FILES = 2_000
MAX_NAME_CHARACTERS = 256
MAX_DESCRIPTION_CHARACTERS = 512
MAX_QUERIES = 16
MAX_QUERY_CHARACTERS = 4_096
MAX_RESULTS = 50
MIN_CHUNK_TOKENS, MAX_CHUNK_TOKENS = 100, 4096
MAX_EXPIRY_DAYS = 365
RANKERS = ("none", "auto", "default-2024-11-15")


def _require_prefix(param: str, value: str, prefix: str, shown: str) -> str:
    if not value.startswith(prefix):
        message = f"Invalid '{param}': '{value[:64]}'. Expected an ID that begins with '{shown}'."
        raise bad_request(message, param, "invalid_value")
    return value


def store_id(request: Request) -> str:
    """Parse the id of the vector store in the path."""
    return _require_prefix("vector_store_id", request.path_params["vector_store_id"], "vs_", "vs")


def path_file_id(request: Request) -> str:
    """Parse the id of the file in the path."""
    return file_id_of(request.path_params["file_id"], "file_id")


def batch_id(request: Request) -> str:
    """Parse the id of the file batch in the path."""
    return _require_prefix("batch_id", request.path_params["batch_id"], "vsfb_", "vsfb")


def file_id_of(value: str, param: str) -> str:
    """Require the prefix of ids of files; `param` names the member."""
    return _require_prefix(param, value, "file", "file")


def page_request(request: Request) -> PageRequest:
    """Parse `limit`, `order`, `after` and `before` of a listing."""
    query = parse_query(request, ("limit", "order", "after", "before"))
    limit = 20
    if (text := query.get("limit")) is not None:
        limit = parse_integer(text, "limit", "limit")
        require_bounds("limit", limit, 1, MAX_LIMIT, "integer")
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise invalid_value("order", order, ("asc", "desc"))
    return PageRequest(limit, order == "desc", query.get("after") or None, query.get("before") or None)


def expiry_days(body: JsonObject) -> int | None:
    """Parse `expires_after`; None without one."""
    policy = body.object("expires_after")
    if policy is None:
        return None
    policy.string("anchor", required=True, choices=("last_active_at",))
    days = policy.integer("days", 1, MAX_EXPIRY_DAYS, required=True)
    policy.finish()
    return days


def chunking_strategy(body: JsonObject) -> Chunking:
    """Parse `chunking_strategy`; `auto` stands for the default sizes."""
    strategy = body.object("chunking_strategy")
    if strategy is None:
        return Chunking()
    kind = strategy.string("type", required=True, choices=("auto", "static"))
    if kind == "auto":
        strategy.finish()
        return Chunking()
    static = strategy.object("static", required=True)
    strategy.finish()
    assert static is not None
    size = static.integer("max_chunk_size_tokens", MIN_CHUNK_TOKENS, MAX_CHUNK_TOKENS, required=True)
    overlap = static.integer("chunk_overlap_tokens", 0, MAX_CHUNK_TOKENS, required=True)
    static.finish()
    assert size is not None
    assert overlap is not None
    if overlap > size // 2:
        path = static.path("chunk_overlap_tokens")
        raise bad_request(
            f"Invalid '{path}': {overlap} is more than half of 'max_chunk_size_tokens' ({size}).", path, "invalid_value"
        )
    return Chunking(size, overlap)


def attachment(body: JsonObject) -> NewAttachment:
    """Parse a file to attach."""
    file_id = file_id_of(body.required_string("file_id"), body.path("file_id"))
    chunking = chunking_strategy(body)
    attributes = body.pairs("attributes", only_strings=False)
    body.finish()
    return NewAttachment(file_id, chunking, attributes)


def batch_files(body: JsonObject) -> list[NewAttachment]:
    """Parse the files of a batch: `file_ids` with members for all, or `files` with their own."""
    if body.value("file_ids") is not None and body.value("files") is not None:
        raise bad_request("'file_ids' and 'files' are mutually exclusive: send one of them.", "files", "invalid_value")
    # The description says that the members for all files are ignored with `files`; they must be valid all the same.
    chunking = chunking_strategy(body)
    attributes = body.pairs("attributes", only_strings=False)
    file_ids = body.strings("file_ids", 1, MAX_BATCH_FILES)
    files = [attachment(each) for each in body.objects("files", 1, MAX_BATCH_FILES)]
    body.finish()
    if file_ids is not None:
        return [NewAttachment(file_id_of(each, "file_ids"), chunking, attributes) for each in file_ids]
    if not files:
        body.value("file_ids", required=True)
    return files


def search_query(body: JsonObject) -> SearchQuery:
    """Parse the body of a search."""
    value = body.value("query", required=True)
    texts = [value] if isinstance(value, str) else body.strings("query", 1, MAX_QUERIES) or []
    for text in texts:
        if not text:
            raise bad_request("Invalid 'query': the text is empty.", "query", "invalid_value")
        if len(text) > MAX_QUERY_CHARACTERS:
            raise bad_request(
                f"Invalid 'query': string too long. Expected a string with maximum length {MAX_QUERY_CHARACTERS}, but "
                f"got a string with length {len(text)} instead.",
                "query",
                "string_above_max_length",
            )
    body.boolean("rewrite_query")
    limit = body.integer("max_num_results", 1, MAX_RESULTS)
    filters = body.value("filters")
    threshold = 0.0
    if (options := body.object("ranking_options")) is not None:
        options.string("ranker", choices=RANKERS)
        threshold = options.number("score_threshold", 0, 1) or 0.0
        options.finish()
    body.finish()
    return SearchQuery(tuple(texts), limit or 10, threshold, None if filters is None else parse_filter(filters))


def new_store(body: JsonObject) -> tuple[NewStoreForm, list[NewAttachment]]:
    """Parse a vector store to create, and the files to attach."""
    file_ids = body.strings("file_ids", 0, MAX_FILES_AT_CREATION) or []
    chunking = chunking_strategy(body)
    form = NewStoreForm(
        body.string("name", max_length=MAX_NAME_CHARACTERS),
        body.string("description", max_length=MAX_DESCRIPTION_CHARACTERS),
        expiry_days(body),
        body.pairs("metadata", only_strings=True),
    )
    body.finish()
    return form, [NewAttachment(file_id_of(file_id, "file_ids"), chunking) for file_id in file_ids]


def store_changes(body: JsonObject) -> StoreChanges:
    """Parse an update of a vector store. A null `name` or `expires_after` removes it, a null `metadata` empties it."""
    changes = StoreChanges(
        set_name=body.has("name"),
        name=body.string("name", max_length=MAX_NAME_CHARACTERS),
        set_expires_after=body.has("expires_after"),
        expires_after_days=expiry_days(body),
        metadata=body.pairs("metadata", only_strings=True) if body.has("metadata") else None,
    )
    body.finish()
    return changes


def new_attributes(body: JsonObject) -> Attributes:
    """Parse an update of attributes; null clears them."""
    if not body.has("attributes"):
        body.value("attributes", required=True)
    attributes = body.pairs("attributes", only_strings=False)
    body.finish()
    return attributes
