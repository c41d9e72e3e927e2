//! How much a peer may send before it is refused.

/// Bounds of everything whose size a peer chooses. A body has no bound here: what is too large is
/// known only when its site is (see [`Decoder::limited`](crate::body::Decoder::limited)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head, from its first line to the empty line, both included.
    ///
    /// 32 KiB: what nginx takes with its defaults, and twice what most applications do. Cookies and
    /// tokens of single sign-on reach 16 KiB in earnest.
    pub head: usize,
    /// Header lines in a head.
    ///
    /// 100: browsers send about 15, and chains of proxies add about as many.
    pub fields: usize,
    /// Bytes of a method; a longer one is not implemented by anybody (RFC 9112 §3).
    ///
    /// 32: the longest registered one, `UPDATEREDIRECTREF`, has 17.
    pub method: usize,
    /// Bytes of a request target.
    ///
    /// 8 KiB, as RFC 9112 §3 asks for at least 8,000. More than 65,533 has no effect, as
    /// [`http::Uri`] holds no more.
    pub target: usize,
    /// Bytes of the extensions of one chunk, its first semicolon included.
    ///
    /// 256: nobody is known to use them but for signatures of 80 bytes.
    pub chunk_extension: usize,
    /// Bytes that chunk lines may take beyond 16 a chunk and twice its data, over a whole body.
    ///
    /// 16 KiB: keeps a body of one-byte chunks with long extensions from costing hundreds of bytes
    /// of traffic and work for each byte it delivers.
    pub chunk_overhead: u64,
    /// Bytes of the trailer section, the empty line included. 8 KiB.
    pub trailer: usize,
    /// Lines of the trailer section.
    ///
    /// 32: gRPC sends three and its error details a few more.
    pub trailer_fields: usize,
    /// Interim (1xx) answers before a final one.
    ///
    /// 16: real servers send one or two, and an endless row of them would never time out.
    pub interim: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 32 * 1024,
            fields: 100,
            method: 32,
            target: 8 * 1024,
            chunk_extension: 256,
            chunk_overhead: 16 * 1024,
            trailer: 8 * 1024,
            trailer_fields: 32,
            interim: 16,
        }
    }
}
