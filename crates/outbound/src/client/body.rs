use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::fault;
use super::progress::Progress;
use crate::SendError;

/// A request body in a few pieces, which tells when a connection takes it.
pub(super) struct SentBody {
    data: Bytes,
    rest: std::vec::IntoIter<Bytes>,
    /// How many bytes were not taken yet.
    left: u64,
    progress: Progress,
}

impl SentBody {
    pub(super) fn new(data: Bytes, rest: Vec<Bytes>, progress: Progress) -> Self {
        let left = rest.iter().map(Bytes::len).sum::<usize>() + data.len();
        Self {
            data,
            rest: rest.into_iter(),
            left: left as u64,
            progress,
        }
    }
}

impl Body for SentBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.progress.request_began();
        while self.data.is_empty() {
            match self.rest.next() {
                Some(next) => self.data = next,
                None => return Poll::Ready(None),
            }
        }
        let data = std::mem::take(&mut self.data);
        self.left -= data.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// An empty body is never polled; a connection drops it once it took the request.
impl Drop for SentBody {
    fn drop(&mut self) {
        self.progress.request_began();
    }
}

/// Reads `body` to its end, but no more than `limit` bytes.
pub(super) async fn collect(mut body: Incoming, limit: usize) -> Result<Bytes, SendError> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(SendError::BodyTooLarge { limit });
    }
    let Some(mut whole) = next_data(&mut body).await? else {
        return Ok(Bytes::new());
    };
    if whole.len() > limit {
        return Err(SendError::BodyTooLarge { limit });
    }
    // Most answers come in one piece, which is passed on without a copy.
    let Some(mut piece) = next_data(&mut body).await? else {
        return Ok(whole);
    };
    let mut buffer = BytesMut::with_capacity(announced.min(MAX_RESERVED));
    buffer.extend_from_slice(&whole);
    whole.clear();
    loop {
        if piece.len() > limit - buffer.len() {
            return Err(SendError::BodyTooLarge { limit });
        }
        buffer.extend_from_slice(&piece);
        match next_data(&mut body).await? {
            Some(next) => piece = next,
            None => return Ok(buffer.freeze()),
        }
    }
}

/// Reads the beginning of `body` into `start`, no more than `limit` bytes, for as long as it comes.
pub(super) async fn begin(mut body: Incoming, limit: usize, start: &mut BytesMut) {
    while let Ok(Some(piece)) = next_data(&mut body).await {
        let room = limit - start.len();
        start.extend_from_slice(&piece[..piece.len().min(room)]);
        if piece.len() > room {
            return;
        }
    }
}

/// Returns the next piece of data, passing over trailers.
async fn next_data(body: &mut Incoming) -> Result<Option<Bytes>, SendError> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| fault::in_body(&e))?;
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

const MAX_RESERVED: usize = 64 * 1024;
