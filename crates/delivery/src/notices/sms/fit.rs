//! Making a text fit two parts of an SMS.

/// Returns the text, its link and the word that ends it all, cut so that two parts hold them.
///
/// The text is cut first; a link that does not fit whole is left out.
pub(super) fn text(short: &str, link: Option<&str>, stop: &str) -> String {
    let short = plain(short);
    let stop = plain(stop);
    let link = link.filter(|link| segments(&format!("{link} {stop}")) <= 1);
    let tail = match link {
        Some(link) => format!(" {link} {stop}"),
        None => format!(" {stop}"),
    };
    let whole = format!("{short}{tail}");
    if segments(&whole) <= PARTS {
        return whole;
    }
    let mut kept: Vec<char> = short.chars().collect();
    loop {
        kept.pop();
        let cut: String = kept.iter().collect();
        let text = format!("{}...{tail}", cut.trim_end());
        if segments(&text) <= PARTS || kept.is_empty() {
            return text;
        }
    }
}

/// Writes typographic marks in letters that take a seventh less room.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '‘' | '’' | '‚' => plain.push('\''),
            '“' | '”' | '„' => plain.push('"'),
            '–' | '—' | '‑' => plain.push('-'),
            '…' => plain.push_str("..."),
            c if c.is_whitespace() => plain.push(' '),
            c => plain.push(c),
        }
    }
    plain
        .split(' ')
        .filter(|w| !w.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Returns how many parts of an SMS the text takes (3GPP TS 23.038).
pub(super) fn segments(text: &str) -> usize {
    let septets: Option<usize> = text.chars().map(septets).sum();
    let (units, single, joined) = match septets {
        Some(septets) => (septets, 160, 153),
        None => (text.encode_utf16().count(), 70, 67),
    };
    if units <= single {
        1
    } else {
        units.div_ceil(joined)
    }
}

/// Returns what a character takes in the default alphabet; `None` if it is not there.
fn septets(c: char) -> Option<usize> {
    if c.is_ascii_alphanumeric() || BASIC.contains(c) {
        Some(1)
    } else if EXTENSION.contains(c) {
        Some(2)
    } else {
        None
    }
}

const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./:;<=>?¡ÄÖÑÜ§¿äöñüà";
const EXTENSION: &str = "\u{c}^{}\\[~]|€";
const PARTS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_counted_as_networks_do() {
        for (text, expected) in [
            ("a".repeat(160), 1),
            ("ä".repeat(161), 2),
            ("a".repeat(306), 2),
            ("a".repeat(307), 3),
            ("€".repeat(80), 1),
            ("€".repeat(81), 2),
            ("ł".repeat(70), 1),
            ("ł".repeat(71), 2),
            ("😀".repeat(36), 2),
        ] {
            assert_eq!(segments(&text), expected, "{text}");
        }
    }

    #[test]
    fn the_text_is_cut_and_the_link_and_the_stop_word_stay_whole() {
        let link = format!("https://app.example/{}", "x".repeat(60));
        for short in ["Kurz.".to_owned(), "Lang ".repeat(200), "łódź ".repeat(200)] {
            let text = text(&short, Some(&link), "STOP beendet SMS.");
            assert!(segments(&text) <= PARTS, "{text}");
            assert!(text.ends_with(" STOP beendet SMS."), "{text}");
        }
        let long = text("Look:", Some(&"x".repeat(400)), "Reply STOP");
        assert_eq!(long, "Look: Reply STOP");
        assert_eq!(text("“A” – b…", None, "S"), "\"A\" - b... S");
    }
}
