//! A page for people: headings, lines and tables, made once and written as text or as one HTML file to print.
//!
//! The HTML has no script, no link and nothing from elsewhere. Every text in it is escaped.

use std::fmt;

/// Something to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    title: String,
    blocks: Vec<Block>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Block {
    Heading(String),
    Line(String),
    Strong(String),
    Table(Table),
}

/// A table. Its numbers stand on the right.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    caption: String,
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    cells: Vec<String>,
    is_total: bool,
}

/// Where a column's cells stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

impl Page {
    /// An empty page with a title.
    pub fn new(title: impl Into<String>) -> Page {
        Page { title: title.into(), blocks: vec![] }
    }

    /// Adds a heading.
    pub fn heading(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Heading(text.into()));
    }

    /// Adds a line.
    pub fn line(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Line(text.into()));
    }

    /// Adds a line that must not be overlooked.
    pub fn strong(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Strong(text.into()));
    }

    /// Adds a table, unless it is empty.
    pub fn table(&mut self, table: Table) {
        if !table.rows.is_empty() {
            self.blocks.push(Block::Table(table));
        }
    }

    /// The page as one HTML file.
    pub fn html(&self) -> String {
        let mut body = String::new();
        for block in &self.blocks {
            match block {
                Block::Heading(text) => body += &format!("<h2>{}</h2>\n", escaped(text)),
                Block::Line(text) => body += &format!("<p>{}</p>\n", escaped(text)),
                Block::Strong(text) => body += &format!("<p class=\"strong\">{}</p>\n", escaped(text)),
                Block::Table(table) => body += &table.html(),
            }
        }
        let title = escaped(&self.title);
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n\
             </head>\n<body>\n<h1>{title}</h1>\n{body}</body>\n</html>\n"
        )
    }
}

const STYLE: &str = "\
body { font: 10pt/1.4 'Noto Sans', 'DejaVu Sans', Arial, sans-serif; color: #111; background: #fff; max-width: 60em; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.6em; border-bottom: 2px solid #111; padding-bottom: 0.2em; }
h2 { font-size: 1.2em; margin: 1.6em 0 0.4em; }
p { margin: 0.3em 0; overflow-wrap: anywhere; }
p.strong { font-weight: bold; font-size: 1.1em; }
table { border-collapse: collapse; width: 100%; margin: 0.6em 0 1.2em; }
caption { text-align: left; font-weight: bold; padding: 0.3em 0; }
th, td { text-align: left; vertical-align: top; padding: 0.15em 0.6em 0.15em 0; border-bottom: 1px solid #ccc; overflow-wrap: anywhere; }
th { border-bottom: 1px solid #111; overflow-wrap: normal; }
td:first-child:not(.n) { min-width: 8em; }
td:last-child:not(.n) { min-width: 14em; }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
tr.total td { font-weight: bold; border-top: 1px solid #111; }
@page { size: A4; margin: 18mm 15mm; }
@media print {
  body { font-size: 8.5pt; max-width: none; margin: 0; padding: 0; }
  h2, caption { break-after: avoid; }
  thead { display: table-header-group; }
  table, tr { break-inside: avoid; }
}
";

/// How many of something: `1 payment`, `2 payments`.
pub(crate) fn counted(count: u64, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

/// Text that means itself in HTML, in an element as in a quoted attribute.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() => safe.push('\u{FFFD}'),
            c => safe.push(c),
        }
    }
    safe
}

impl Table {
    /// A table without rows.
    pub fn new(caption: impl Into<String>, columns: &[(&'static str, Align)]) -> Table {
        Table { caption: caption.into(), columns: columns.to_vec(), rows: vec![] }
    }

    /// Adds a row, a cell for each column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(Row { cells: cells.into_iter().collect(), is_total: false });
    }

    /// Adds a row that sums up others.
    pub fn total(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(Row { cells: cells.into_iter().collect(), is_total: true });
    }

    fn html(&self) -> String {
        let class = |align: &Align| if *align == Align::Right { " class=\"n\"" } else { "" };
        let mut html = String::from("<table>\n");
        if !self.caption.is_empty() {
            html += &format!("<caption>{}</caption>\n", escaped(&self.caption));
        }
        html += "<thead><tr>";
        for (title, align) in &self.columns {
            html += &format!("<th scope=\"col\"{}>{}</th>", class(align), escaped(title));
        }
        html += "</tr></thead>\n<tbody>\n";
        for Row { cells, is_total } in &self.rows {
            html += if *is_total { "<tr class=\"total\">" } else { "<tr>" };
            for (cell, (_, align)) in cells.iter().zip(&self.columns) {
                html += &format!("<td{}>{}</td>", class(align), escaped(cell));
            }
            html += "</tr>\n";
        }
        html + "</tbody>\n</table>\n"
    }

    fn width(&self, column: usize) -> usize {
        let title = self.columns.get(column).map_or(0, |(title, _)| title.chars().count());
        let cells = self.rows.iter().filter_map(|row| row.cells.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(title)
    }

    fn write_row(
        &self,
        f: &mut fmt::Formatter<'_>,
        widths: &[usize],
        cells: &[String],
        mark: &str,
    ) -> fmt::Result {
        let mut line = format!("{mark:2}");
        for ((cell, (_, align)), width) in cells.iter().zip(&self.columns).zip(widths) {
            match align {
                Align::Left => line += &format!("{cell:<width$}  "),
                Align::Right => line += &format!("{cell:>width$}  "),
            }
        }
        writeln!(f, "{}", line.trim_end())
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.title)?;
        for block in &self.blocks {
            match block {
                Block::Heading(text) => writeln!(f, "\n{text}\n{}", "-".repeat(text.chars().count()))?,
                Block::Line(text) | Block::Strong(text) => writeln!(f, "{text}")?,
                Block::Table(table) => write!(f, "{table}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        if !self.caption.is_empty() {
            writeln!(f, "{}", self.caption)?;
        }
        let widths: Vec<usize> = (0..self.columns.len()).map(|column| self.width(column)).collect();
        let titles: Vec<String> = self.columns.iter().map(|(title, _)| (*title).to_owned()).collect();
        self.write_row(f, &widths, &titles, "")?;
        for Row { cells, is_total } in &self.rows {
            self.write_row(f, &widths, cells, if *is_total { "=" } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(word: &str) -> Page {
        let mut page = Page::new(word);
        page.heading(word);
        page.line(word);
        page.strong(word);
        let mut table = Table::new(word, &[("what", Align::Left), ("how much", Align::Right)]);
        table.row([word.to_owned(), "1.00".to_owned()]);
        table.total(["all".to_owned(), "1.00".to_owned()]);
        page.table(table);
        page.table(Table::new("left out", &[("what", Align::Left)]));
        page
    }

    #[test]
    fn a_page_of_text() {
        let shown = page("a word").to_string();
        let expected = "a word\n\n\na word\n------\na word\na word\n\na word\n  what    how much\n  a word      1.00\n= all         1.00\n";
        assert_eq!(shown, expected);
    }

    #[test]
    fn no_text_is_taken_for_markup() {
        let html = page("<script>alert('1' & \"2\")</script>\u{1b}").html();
        assert!(!html.contains("<script") && !html.contains('\u{1b}'), "{html}");
        let safe = "&lt;script&gt;alert(&#39;1&#39; &amp; &quot;2&quot;)&lt;/script&gt;\u{FFFD}";
        // Title twice, heading, two lines, caption, cell.
        assert_eq!(html.matches(safe).count(), 7, "{html}");
    }

    #[test]
    fn nothing_comes_from_elsewhere() {
        let html = page("plain").html();
        for outside in ["http:", "https:", "src=", "href=", "url(", "@import", "<link", "<script"] {
            assert!(!html.contains(outside), "{outside}");
        }
        assert!(html.contains("@media print") && html.contains("default-src 'none'"));
    }
}
