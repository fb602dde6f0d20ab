//! The captcha's picture: a PNG with one bit per pixel, uncompressed.

/// Returns whether a picture can be drawn of `text`.
pub(crate) fn is_captcha(text: &str) -> bool {
    (4..=8).contains(&text.len()) && text.bytes().all(|byte| glyph(byte).is_some())
}

/// Draws `text`, crookedly and with lines through it.
pub(super) fn png(text: &str) -> Vec<u8> {
    let width = 2 * MARGIN + text.len() * ADVANCE;
    let lines: Vec<_> = (0..HEIGHT).map(|y| line(text, width, y)).collect();

    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = Vec::with_capacity(13);
    header.extend(be(width));
    header.extend(be(HEIGHT));
    // One bit, greyscale, and the only kinds of compression, filter and interlacing without one.
    header.extend([1, 0, 0, 0, 0]);
    chunk(&mut png, b"IHDR", &header);
    chunk(&mut png, b"IDAT", &stored(&lines.concat()));
    chunk(&mut png, b"IEND", &[]);
    png
}

/// Draws one line, with the filter's number in front; a set bit is white.
fn line(text: &str, width: usize, y: usize) -> Vec<u8> {
    let mut line = vec![0xff; 1 + width.div_ceil(8)];
    line[0] = 0;
    for x in 0..width {
        if inked(text, x, y) {
            line[1 + x / 8] &= !(0x80 >> (x % 8));
        }
    }
    line
}

fn inked(text: &str, x: usize, y: usize) -> bool {
    let strike = MARGIN + (x * 3 / 7) % (HEIGHT - 2 * MARGIN);
    if y == strike || y + 5 == HEIGHT - strike {
        return true;
    }
    // A slant, and letters that hop.
    let Some(x) = (x + y / 5).checked_sub(MARGIN + HEIGHT / 10) else {
        return false;
    };
    let (index, column) = (x / ADVANCE, x % ADVANCE / PIXEL);
    let hop = MARGIN + index * 5 % 9;
    let Some(row) = y.checked_sub(hop).map(|y| y / PIXEL) else {
        return false;
    };
    let rows = text.as_bytes().get(index).and_then(|byte| glyph(*byte));
    rows.and_then(|rows| rows.get(row))
        .is_some_and(|row| column < 5 && row >> (4 - column) & 1 == 1)
}

/// Packs `data` as a zlib stream without compressing it; it must be shorter than 64 KiB.
fn stored(data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).expect("the picture is small");
    let mut stream = vec![0x78, 0x01, 0x01];
    stream.extend(length.to_le_bytes());
    stream.extend((!length).to_le_bytes());
    stream.extend(data);
    let (a, b) = data.iter().fold((1_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    stream.extend((b << 16 | a).to_be_bytes());
    stream
}

fn chunk(png: &mut Vec<u8>, name: &[u8; 4], data: &[u8]) {
    png.extend(be(data.len()));
    let start = png.len();
    png.extend(name);
    png.extend(data);
    let sum = crc(&png[start..]);
    png.extend(sum.to_be_bytes());
}

fn crc(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}

fn be(number: usize) -> [u8; 4] {
    u32::try_from(number)
        .expect("the picture is small")
        .to_be_bytes()
}

/// Returns the seven rows of a letter or digit, five bits each.
fn glyph(byte: u8) -> Option<&'static [u8; 7]> {
    ALPHABET
        .iter()
        .find(|(letter, _)| *letter == byte)
        .map(|(_, rows)| rows)
}

const PIXEL: usize = 4;
const ADVANCE: usize = 6 * PIXEL + 2;
const MARGIN: usize = 6;
const HEIGHT: usize = 7 * PIXEL + 2 * MARGIN + 8;

/// Without `I`, `O`, `0` and `1`, which nobody can tell apart.
const ALPHABET: [(u8, [u8; 7]); 32] = [
    (b'A', [14, 17, 17, 31, 17, 17, 17]),
    (b'B', [30, 17, 17, 30, 17, 17, 30]),
    (b'C', [14, 17, 16, 16, 16, 17, 14]),
    (b'D', [30, 17, 17, 17, 17, 17, 30]),
    (b'E', [31, 16, 16, 30, 16, 16, 31]),
    (b'F', [31, 16, 16, 30, 16, 16, 16]),
    (b'G', [14, 17, 16, 23, 17, 17, 15]),
    (b'H', [17, 17, 17, 31, 17, 17, 17]),
    (b'J', [7, 2, 2, 2, 2, 18, 12]),
    (b'K', [17, 18, 20, 24, 20, 18, 17]),
    (b'L', [16, 16, 16, 16, 16, 16, 31]),
    (b'M', [17, 27, 21, 21, 17, 17, 17]),
    (b'N', [17, 25, 21, 19, 17, 17, 17]),
    (b'P', [30, 17, 17, 30, 16, 16, 16]),
    (b'Q', [14, 17, 17, 17, 21, 18, 13]),
    (b'R', [30, 17, 17, 30, 20, 18, 17]),
    (b'S', [15, 16, 16, 14, 1, 1, 30]),
    (b'T', [31, 4, 4, 4, 4, 4, 4]),
    (b'U', [17, 17, 17, 17, 17, 17, 14]),
    (b'V', [17, 17, 17, 17, 17, 10, 4]),
    (b'W', [17, 17, 17, 21, 21, 27, 17]),
    (b'X', [17, 17, 10, 4, 10, 17, 17]),
    (b'Y', [17, 17, 10, 4, 4, 4, 4]),
    (b'Z', [31, 1, 2, 4, 8, 16, 31]),
    (b'2', [14, 17, 1, 6, 8, 16, 31]),
    (b'3', [31, 2, 4, 6, 1, 17, 14]),
    (b'4', [2, 6, 10, 18, 31, 2, 2]),
    (b'5', [31, 16, 30, 1, 1, 17, 14]),
    (b'6', [6, 8, 16, 30, 17, 17, 14]),
    (b'7', [31, 1, 2, 4, 8, 8, 8]),
    (b'8', [14, 17, 17, 14, 17, 17, 14]),
    (b'9', [14, 17, 17, 15, 1, 2, 12]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standards() {
        assert_eq!(crc(b"123456789"), 0xcbf4_3926);
        assert_eq!(stored(b"Wikipedia")[16..], 0x11e6_0398_u32.to_be_bytes());
        assert!(is_captcha("W4TER"));
        for text in ["ABC", "ABCDEFGHJ", "abcd", "ABC0", "ABC D"] {
            assert!(!is_captcha(text), "{text}");
        }
    }
}
