//! Ranges of a document's bytes (RFC 9110, section 14).

use std::ops::Range;

/// Which bytes a request wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of them: nothing else was asked for, or nothing that is served.
    All,
    /// These.
    Part(Range<u64>),
    /// Some that there are not.
    Beyond,
}

/// Reads a `Range` header for a document of `size` bytes.
///
/// What is no range, and several ranges at once, are passed over, as the RFC allows.
pub(super) fn wanted(header: &str, size: u64) -> Wanted {
    let Some((unit, range)) = header.split_once('=') else {
        return Wanted::All;
    };
    let Some((first, last)) = range.trim().split_once('-') else {
        return Wanted::All;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Wanted::All;
    }
    match (number(first), number(last)) {
        (Some(Some(first)), Some(last)) => {
            let last = last.unwrap_or(u64::MAX);
            if last < first {
                Wanted::All
            } else if first >= size {
                Wanted::Beyond
            } else {
                Wanted::Part(first..last.saturating_add(1).min(size))
            }
        }
        (Some(None), Some(Some(length))) => {
            if length == 0 || size == 0 {
                Wanted::Beyond
            } else {
                Wanted::Part(size.saturating_sub(length)..size)
            }
        }
        (_, _) => Wanted::All,
    }
}

/// Returns the number, the inner nothing where there is none, and nothing for everything else.
fn number(text: &str) -> Option<Option<u64>> {
    let text = text.trim();
    if text.is_empty() {
        return Some(None);
    }
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    // More digits than fit are more bytes than there are.
    digits.then(|| Some(text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_document_and_what_is_none_is_passed_over() {
        for (header, range) in [
            ("bytes=0-0", 0..1),
            ("bytes=2-", 2..10),
            ("bytes=2-99999999999999999999", 2..10),
            ("Bytes = 3 - 5", 3..6),
            ("bytes=-3", 7..10),
            ("bytes=-30", 0..10),
        ] {
            assert_eq!(wanted(header, 10), Wanted::Part(range), "{header}");
        }
        for header in ["bytes=10-", "bytes=11-12", "bytes=-0"] {
            assert_eq!(wanted(header, 10), Wanted::Beyond, "{header}");
        }
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-2",
            "bytes=a-",
            "items=0-1",
            "bytes=0-1,3-4",
            "bytes=+1-2",
        ] {
            assert_eq!(wanted(header, 10), Wanted::All, "{header}");
        }
        assert_eq!(wanted("bytes=0-", 0), Wanted::Beyond);
        assert_eq!(wanted("bytes=-1", 0), Wanted::Beyond);
    }
}
