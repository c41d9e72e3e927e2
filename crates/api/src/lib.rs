//! The REST API, sessions, OpenAPI and Swagger UI.
