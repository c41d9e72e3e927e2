//! The built-in reverse proxy: the data plane. It reads neither the store nor the API.

mod body;
mod canonical;
mod compress;
mod files;
mod log;
mod metrics;
mod pages;
mod quality;
