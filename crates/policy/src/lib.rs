//! Compiles a site into the one policy a node must carry out, and the format in which an edge is given it.
