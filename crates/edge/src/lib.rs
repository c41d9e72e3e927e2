//! The built-in reverse proxy: the data plane. It reads neither the store nor the API.
