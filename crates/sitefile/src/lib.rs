//! Reads site files: YAML with positions, parameters and overlays, every fault at once.
//!
//! [`load()`] turns the texts of files into checked sites and findings. Each finding names its file,
//! line and column, the field, the reason and the remedy; [`render()`] prints one for people.
//! [`export()`] writes sites back, [`json_schema`] and [`reference_markdown`] describe the format
//! for editors and readers.
//!
//! This crate deliberately opens no files itself but through the [`Files`] it is given, and knows
//! no server: what a site file would change is found out elsewhere.

mod expand;
mod export;
mod files;
mod htpasswd;
mod load;
mod merge;
mod node;
mod nodes;
mod paths;
mod positions;
mod publish;
mod redirects;
mod reference;
mod render;
mod report;
mod shape;
mod source;
mod toplevel;
mod walk;
mod yaml;

pub use self::{
    export::{export, export_nodes},
    files::{Files, LocalFiles},
    htpasswd::{BadLine, read_htpasswd},
    load::{Loaded, LoadedSite, Options, load},
    nodes::{LoadedNodes, load_nodes},
    positions::Positions,
    publish::{json_schema, nodes_json_schema},
    reference::{nodes_reference_markdown, reference_markdown},
    render::render,
    source::SourceText,
};
