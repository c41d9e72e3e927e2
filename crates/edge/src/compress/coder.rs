//! A body that is coded while it passes.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use async_compression::{
    Level,
    brotli::EncoderParams,
    tokio::bufread::{BrotliEncoder, GzipEncoder, ZstdEncoder},
    zstd::CParameter,
};
use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame};
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};
use tokio_util::io::poll_read_buf;

use crate::{
    body::{self, Body, BodyError},
    coding::Coding,
};

/// How much coded text is handed on at once.
const CHUNK: usize = 16 * 1024;

/// The levels are those whose cost still fits a busy proxy.
const GZIP_LEVEL: Level = Level::Precise(5);
const BROTLI_LEVEL: Level = Level::Precise(4);
const ZSTD_LEVEL: Level = Level::Precise(3);

/// The window in powers of two: half a megabyte, so that a thousand streams fit into memory.
const WINDOW: u8 = 19;

/// Returns a body coded.
pub(super) fn code(body: Body, coding: Coding) -> Body {
    let source = Source { body, current: Bytes::new(), trailers: None, error: None, ended: false };
    let coder = match coding {
        Coding::Gzip => Coder::Gzip(Box::new(GzipEncoder::with_quality(source, GZIP_LEVEL))),
        Coding::Brotli => {
            let params =
                EncoderParams::default().quality(BROTLI_LEVEL).window_size(i32::from(WINDOW));
            Coder::Brotli(Box::new(BrotliEncoder::with_params(source, params)))
        }
        Coding::Zstd => {
            let params = [CParameter::window_log(u32::from(WINDOW))];
            Coder::Zstd(Box::new(ZstdEncoder::with_quality_and_params(source, ZSTD_LEVEL, &params)))
        }
    };
    Body::new(Coded { coder, buffer: BytesMut::new(), ended: false })
}

struct Coded {
    coder: Coder,
    buffer: BytesMut,
    ended: bool,
}

enum Coder {
    Gzip(Box<GzipEncoder<Source>>),
    Brotli(Box<BrotliEncoder<Source>>),
    Zstd(Box<ZstdEncoder<Source>>),
}

impl HttpBody for Coded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if this.ended {
            let trailers = this.coder.source().trailers.take();
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        this.buffer.reserve(CHUNK);
        match ready!(this.coder.poll_read(cx, &mut this.buffer)) {
            Ok(0) => {
                this.ended = true;
                Pin::new(this).poll_frame(cx)
            }
            Ok(_) => Poll::Ready(Some(Ok(Frame::data(this.buffer.split().freeze())))),
            Err(error) => {
                this.ended = true;
                let source = this.coder.source();
                let error = source.error.take().unwrap_or(BodyError::Compress(error));
                source.body = body::empty();
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}

impl Coder {
    fn poll_read(&mut self, cx: &mut Context<'_>, out: &mut BytesMut) -> Poll<io::Result<usize>> {
        match self {
            Self::Gzip(coder) => poll_read_buf(Pin::new(coder), cx, out),
            Self::Brotli(coder) => poll_read_buf(Pin::new(coder), cx, out),
            Self::Zstd(coder) => poll_read_buf(Pin::new(coder), cx, out),
        }
    }

    fn source(&mut self) -> &mut Source {
        match self {
            Self::Gzip(coder) => coder.get_mut(),
            Self::Brotli(coder) => coder.get_mut(),
            Self::Zstd(coder) => coder.get_mut(),
        }
    }
}

/// The body as the coders read it.
struct Source {
    body: Body,
    current: Bytes,
    trailers: Option<HeaderMap>,
    /// What the body failed with; the coder sees a plain I/O error instead.
    error: Option<BodyError>,
    ended: bool,
}

impl AsyncBufRead for Source {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        while this.current.is_empty() && !this.ended {
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                None => this.ended = true,
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.current = data,
                    Err(frame) => this.trailers = frame.into_trailers().ok(),
                },
                Some(Err(error)) => {
                    this.ended = true;
                    this.error = Some(error);
                    return Poll::Ready(Err(io::Error::other("the body broke off")));
                }
            }
        }
        Poll::Ready(Ok(&this.current))
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        let this = self.get_mut();
        this.current.advance(amount.min(this.current.len()));
    }
}

/// Required beside `AsyncBufRead`.
impl AsyncRead for Source {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let available = ready!(self.as_mut().poll_fill_buf(cx))?;
        let amount = available.len().min(buffer.remaining());
        buffer.put_slice(available.get(..amount).unwrap_or_default());
        self.consume(amount);
        Poll::Ready(Ok(()))
    }
}
