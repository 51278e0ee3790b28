"""The console: a single page for people, which uses the public API with the user's own key."""
