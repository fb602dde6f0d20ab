//! The shape of a text: what does not differ from one failure to the next, and tells of nobody.

use super::plain::is_plain;

/// Returns a text with digits, addresses, ids, names and quoted values masked, at most `longest`
/// characters of it.
pub(super) fn shape(text: &str, longest: usize) -> String {
    let mut shape = Shape::default();
    let mut rest = text.trim_start();
    let is_json = rest.starts_with(['{', '[']);
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        if shape.text.chars().count() >= longest {
            break;
        }
        let behind = if first.is_whitespace() {
            shape.text.push(' ');
            rest.trim_start()
        } else if let Some((quoted, behind)) = quotation(rest, before) {
            let is_key = is_json && first == '"' && behind.trim_start().starts_with(':');
            if is_key && is_identifier(quoted.trim_matches('"')) {
                shape.text.push_str(quoted);
            } else {
                shape.text.push(first);
                shape.text.push('…');
                shape.text.extend(closers(first).chars().next());
            }
            behind
        } else {
            let (word, behind) = rest.split_at(end_of_word(rest));
            shape.push(word);
            behind
        };
        let taken = rest.strip_suffix(behind).unwrap_or(rest);
        before = taken.chars().next_back().unwrap_or(' ');
        rest = behind;
    }
    let shape = shape.text.trim_end();
    shape.chars().take(longest).collect()
}

/// Returns whether a word may be a name: one that is written large, has a dot inside, or is of a
/// script without small letters, and is none of those that errors are made of.
pub(super) fn is_name(word: &str) -> bool {
    let word = word.trim_matches(|c: char| !c.is_alphanumeric());
    let segments = || word.split(|c: char| !c.is_alphanumeric() && c != '\'' && c != '’');
    let letters = || word.chars().filter(|c| c.is_alphabetic());
    let is_large = letters().next().is_some_and(char::is_uppercase);
    let is_code = word.contains('_') && !letters().any(char::is_lowercase);
    let is_dotted = word.contains('.') && segments().any(|part| part.chars().count() > 1);
    let is_caseless = letters().any(|c| !c.is_lowercase() && !c.is_uppercase());
    (is_large && !is_code || is_dotted || is_caseless) && !segments().any(is_plain)
}

/// Returns whether a text is longer than words are without a break.
pub(super) fn is_token(text: &str) -> bool {
    let runs = text.split(|c: char| !c.is_alphabetic());
    let longest = runs.map(|run| run.chars().count()).max();
    longest.is_some_and(|letters| letters > LONGEST_RUN)
}

/// Returns whether the key of an object is one that a program gave it.
fn is_identifier(key: &str) -> bool {
    let digits = key.bytes().filter(u8::is_ascii_digit).count();
    key.len() <= LONGEST_KEY
        && digits <= MOST_DIGITS_OF_KEY
        && key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !is_token(key)
}

#[derive(Debug, Default)]
struct Shape {
    text: String,
}

impl Shape {
    fn push(&mut self, word: &str) {
        if word.contains('@') {
            return self.text.push_str("<address>");
        }
        if word.contains("://") {
            return self.text.push_str("<url>");
        }
        if word.contains(['+', '=']) && word.chars().count() > LONGEST_RUN {
            return self.text.push('#');
        }
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '\'' | '’');
        for piece in word.split_inclusive(|c: char| !is_part(c)) {
            let core = piece.trim_end_matches(|c: char| !c.is_alphanumeric());
            let behind = piece.get(core.len()..).unwrap_or_default();
            if !core.is_empty() {
                self.push_core(core);
            }
            self.text.push_str(behind);
        }
    }

    fn push_core(&mut self, core: &str) {
        let digits = core.chars().filter(|c| c.is_numeric()).count();
        let letters = core.chars().filter(|c| c.is_alphabetic()).count();
        if digits > 0 && (letters == 0 || digits > 1)
            || core.chars().count() > LONGEST_PIECE
            || is_token(core)
        {
            self.text.push('#');
        } else if is_name(core) {
            // A name is one, however many words it has.
            if self.text.ends_with("<name> ") {
                self.text.pop();
            } else {
                self.text.push_str(NAME);
            }
        } else {
            let shape = core.chars().map(|c| if c.is_numeric() { '#' } else { c });
            self.text.extend(shape);
        }
    }
}

/// Splits off a quotation, its marks included; one of `"` without an end is the whole text.
fn quotation(text: &str, before: char) -> Option<(&str, &str)> {
    let first = text.chars().next()?;
    let closers = closers(first);
    // An apostrophe is none.
    if closers.is_empty() || first != '"' && before.is_alphanumeric() {
        return None;
    }
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if closers.contains(c) && !escaped {
            let end = at.saturating_add(c.len_utf8());
            let (quoted, behind) = text.split_at(end);
            let goes_on = behind.starts_with(char::is_alphanumeric);
            if !(goes_on && matches!(c, '\'' | '’')) {
                return Some((quoted, behind));
            }
        }
        escaped = c == '\\' && !escaped;
    }
    // An apostrophe may stand before a word as well.
    (!matches!(first, '\'' | '‘' | '’' | '`' | '»' | '›')).then_some((text, ""))
}

/// Returns the marks that end a quotation, the usual one first; none where a mark begins none.
const fn closers(open: char) -> &'static str {
    match open {
        '"' => "\"",
        '\'' => "'",
        '`' => "`'",
        '“' => "”\"",
        '„' => "“”\"",
        '”' => "”",
        '‘' => "’'",
        '‚' => "‘’",
        '’' => "’",
        '«' => "»",
        '»' => "«",
        '‹' => "›",
        '›' => "‹",
        '「' => "」",
        '『' => "』",
        _ => "",
    }
}

/// Returns where a word ends: at a space, or where a quotation begins.
fn end_of_word(text: &str) -> usize {
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        let opens = at > 0 && !closers(c).is_empty() && (c == '"' || !before.is_alphanumeric());
        if c.is_whitespace() || opens {
            return at;
        }
        before = c;
    }
    text.len()
}

/// What stands for a name.
pub(super) const NAME: &str = "<name>";
/// Letters of a word without a break; tokens have more.
const LONGEST_RUN: usize = 24;
const LONGEST_PIECE: usize = 48;
const LONGEST_KEY: usize = 40;
const MOST_DIGITS_OF_KEY: usize = 2;
