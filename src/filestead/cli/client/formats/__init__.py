"""The formats of `--format` and the paths of `--transform`, each over JSON as text."""
