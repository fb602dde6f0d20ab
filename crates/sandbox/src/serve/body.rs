use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::Aborted;

/// The body of an answer: whole, or cut off before its announced end.
pub(crate) struct Body {
    data: Bytes,
    end: End,
}

#[derive(Clone, Copy)]
enum End {
    Proper,
    /// The data goes out first, in a flush of its own.
    CutAfterFlush,
    Cut,
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self::whole(Bytes::new())
    }

    pub(crate) fn whole(data: Bytes) -> Self {
        Self {
            data,
            end: End::Proper,
        }
    }

    pub(crate) fn cut(data: Bytes) -> Self {
        Self {
            data,
            end: End::CutAfterFlush,
        }
    }

    pub(crate) fn into_data(self) -> Bytes {
        self.data
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        if !self.data.is_empty() {
            let data = std::mem::take(&mut self.data);
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match self.end {
            End::Proper => Poll::Ready(None),
            End::CutAfterFlush => {
                self.end = End::Cut;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            End::Cut => Poll::Ready(Some(Err(Aborted))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self.end {
            End::Proper => self.data.is_empty(),
            End::CutAfterFlush | End::Cut => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.end {
            End::Proper => SizeHint::with_exact(u64::try_from(self.data.len()).unwrap_or(u64::MAX)),
            End::CutAfterFlush | End::Cut => SizeHint::default(),
        }
    }
}
