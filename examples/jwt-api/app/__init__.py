"""The application of this example: a small API with login, a visit counter and its own docs."""
