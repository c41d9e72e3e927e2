//! Bodies: bytes of a connection to frames of data, and back.

mod chunk;
mod decode;
mod encode;
mod trailers;

pub use crate::body::{
    decode::{Decoder, Frame},
    encode::{Around, EncodeError, Encoder},
};
