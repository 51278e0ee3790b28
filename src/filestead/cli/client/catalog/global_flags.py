"""The flags that every client command accepts."""

from filestead.cli.client.grammar.model import Flag

FORMATS = ("auto", "explore", "json", "jsonl", "pretty", "raw", "yaml")

GLOBAL_FLAGS = (
    Flag("base-url", "Base URL of the API, including /v1", placeholder="URL", env_var="OPENAI_BASE_URL"),
    Flag("api-key", "API key, sent as a bearer token", placeholder="KEY", env_var="OPENAI_API_KEY"),
    Flag("organization", "Organization ID to send", placeholder="ID", env_var="OPENAI_ORG_ID"),
    Flag("project", "Project ID to send", placeholder="ID", env_var="OPENAI_PROJECT_ID"),
    Flag("format", "Output format of results", placeholder="FORMAT", choices=FORMATS),
    Flag("transform", "GJSON path that selects what to print of each result", placeholder="PATH"),
    Flag("raw-output", "Print a string result without quotes", kind="switch", short="r"),
    Flag("format-error", "Output format of error objects", placeholder="FORMAT", choices=FORMATS),
    Flag("transform-error", "GJSON path that selects what to print of an error object", placeholder="PATH"),
    Flag("no-progress", "Do not show a progress bar (shown only if standard error is a terminal)", kind="switch"),
    Flag("debug", "Print the headers of requests and responses to standard error; secrets are masked", kind="switch"),
    Flag("mtls-client-cert-file", "Client certificate (PEM) for an https base URL", kind="path", placeholder="FILE",
         env_var="OPENAI_MTLS_CLIENT_CERT_FILE"),
    Flag("mtls-client-key-file", "Private key (PEM) of the client certificate", kind="path", placeholder="FILE",
         env_var="OPENAI_MTLS_CLIENT_KEY_FILE"),
    Flag("admin-api-key", "Accepted for compatibility; not used by any command", placeholder="KEY"),
    Flag("webhook-secret", "Accepted for compatibility; not used by any command", placeholder="SECRET"),
)  # fmt: skip
