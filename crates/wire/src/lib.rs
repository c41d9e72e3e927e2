//! Request and response types of the REST API with their OpenAPI schemas, and the typed client.
