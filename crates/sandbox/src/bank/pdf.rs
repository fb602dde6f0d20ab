//! A small writer of PDF files, version 1.4: text on A4, in fonts that every reader has.

use std::fmt::Write as _;

use super::document::{DocumentId, Kind, decimal};
use super::transaction;

/// Writes `id` down: the same bytes each time.
pub(super) fn of(id: DocumentId) -> Vec<u8> {
    let pages = id.kind.pages();
    let day = id.date.strftime("%Y%m%d");
    let mut file = File::default();
    let kids: Vec<_> = (0..pages)
        .map(|page| format!("{} 0 R", FIRST_PAGE + 2 * page))
        .collect();
    file.object("<< /Type /Catalog /Pages 2 0 R >>");
    file.object(&format!(
        "<< /Type /Pages /Kids [{}] /Count {pages} >>",
        kids.join(" ")
    ));
    for font in ["Helvetica", "Helvetica-Bold"] {
        file.object(&format!(
            "<< /Type /Font /Subtype /Type1 /BaseFont /{font} /Encoding /WinAnsiEncoding >>"
        ));
    }
    file.object(&format!(
        "<< /Title ({}) /Author (Sandbox Bank) /CreationDate (D:{day}000000Z) >>",
        escaped(&id.title())
    ));
    for page in 0..pages {
        file.object(&format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {} 0 R \
             /Resources << /Font << /F1 3 0 R /F2 4 0 R >> >> >>",
            FIRST_PAGE + 2 * page + 1
        ));
        let content = content(id, page);
        file.object(&format!(
            "<< /Length {} >>\nstream\n{content}\nendstream",
            content.len()
        ));
    }
    file.finish()
}

fn content(id: DocumentId, page: usize) -> String {
    let mut paper = Paper::default();
    paper.line(Font::Bold, 18, 40, "Sandbox Bank");
    paper.line(Font::Bold, 13, 28, &id.title());
    paper.line(
        Font::Plain,
        10,
        16,
        &format!("Account holder: {}", id.account.holder),
    );
    paper.line(
        Font::Plain,
        10,
        16,
        &format!("Account number: {}", id.account.number),
    );
    paper.line(Font::Plain, 10, 16, &format!("Date: {}", id.date));
    paper.line(Font::Plain, 10, 28, &format!("Document: {}", id.name()));
    match id.kind {
        Kind::Statement => {
            for booked in transaction::on_statement(id, page) {
                paper.row([&booked.date.to_string(), booked.description, &booked.amount]);
            }
        }
        Kind::Bill => {
            let due = id.amount_due().map(decimal).unwrap_or_default();
            paper.row(["", "Account keeping", &due]);
            paper.line(Font::Bold, 12, 28, &format!("Amount due: {due} EUR"));
        }
        Kind::Notice => {
            paper.line(
                Font::Plain,
                10,
                16,
                "We are changing our terms. Nothing is to be done.",
            );
        }
    }
    let pages = id.kind.pages();
    paper.line(Font::Plain, 8, 40, &format!("Page {} of {pages}", page + 1));
    paper.drawing
}

/// The drawing of a page, from top to bottom.
struct Paper {
    drawing: String,
    /// Where the next line goes, in points from the bottom.
    bottom: usize,
}

#[derive(Clone, Copy)]
enum Font {
    Plain,
    Bold,
}

impl Default for Paper {
    fn default() -> Self {
        Self {
            drawing: String::new(),
            bottom: 820,
        }
    }
}

impl Paper {
    fn line(&mut self, font: Font, size: usize, advance: usize, text: &str) {
        self.bottom -= advance;
        self.write(font, size, 50, text);
    }

    fn row(&mut self, cells: [&str; 3]) {
        self.bottom -= 15;
        for (left, cell) in [50, 130, 460].into_iter().zip(cells) {
            self.write(Font::Plain, 10, left, cell);
        }
    }

    fn write(&mut self, font: Font, size: usize, left: usize, text: &str) {
        let font = match font {
            Font::Plain => "F1",
            Font::Bold => "F2",
        };
        let text = escaped(text);
        let bottom = self.bottom;
        writeln!(
            self.drawing,
            "BT /{font} {size} Tf {left} {bottom} Td ({text}) Tj ET"
        )
        .expect("a string takes everything");
    }
}

/// A file whose objects are numbered in the order in which they are written.
struct File {
    bytes: Vec<u8>,
    offsets: Vec<usize>,
}

impl Default for File {
    fn default() -> Self {
        Self {
            // The second line tells those who copy files that this is not text.
            bytes: b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n".to_vec(),
            offsets: Vec::new(),
        }
    }
}

impl File {
    fn object(&mut self, body: &str) {
        self.offsets.push(self.bytes.len());
        let object = format!("{} 0 obj\n{body}\nendobj\n", self.offsets.len());
        self.bytes.extend(object.into_bytes());
    }

    fn finish(mut self) -> Vec<u8> {
        let size = self.offsets.len() + 1;
        let start = self.bytes.len();
        // Each entry has exactly twenty bytes, with its two-byte end of line.
        let mut table = format!("xref\n0 {size}\n0000000000 65535 f\r\n");
        for offset in &self.offsets {
            write!(table, "{offset:010} 00000 n\r\n").expect("a string takes everything");
        }
        write!(
            table,
            "trailer\n<< /Size {size} /Root 1 0 R /Info 5 0 R >>\nstartxref\n{start}\n%%EOF\n"
        )
        .expect("a string takes everything");
        self.bytes.extend(table.into_bytes());
        self.bytes
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('(', "\\(")
        .replace(')', "\\)")
}

/// After the catalog, the page tree, two fonts and the information.
const FIRST_PAGE: usize = 6;
