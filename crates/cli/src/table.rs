//! Tables: columns two blanks apart, no rules, cells wrapped to fit the terminal.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table as Grid, Width, presets};

/// Rows under headers.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Kept whole.
    Whole,
    /// Kept whole, on the right: a number.
    Number,
    /// Broken between words where the terminal is too narrow.
    Text,
    /// Left out where the terminal is too narrow.
    Spare,
}

#[derive(Debug)]
struct Column {
    header: String,
    kind: Kind,
}

impl Table {
    /// A table with these headers. What a header begins with says what is under it: `>` numbers, `~` text, `?` what
    /// a narrow terminal can do without.
    pub(crate) fn new(headers: &[&str]) -> Self {
        let column = |header: &&str| {
            let marks = [('>', Kind::Number), ('~', Kind::Text), ('?', Kind::Spare)];
            let marked = marks.iter().find_map(|(mark, kind)| Some((header.strip_prefix(*mark)?, *kind)));
            let (header, kind) = marked.unwrap_or((header, Kind::Whole));
            Column { header: header.to_owned(), kind }
        };
        Self { columns: headers.iter().map(column).collect(), rows: Vec::new() }
    }

    /// Adds a row; empty cells are shown as `-`.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Whether it has rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text, indented by two. A column in which every cell is empty is left out.
    pub(crate) fn lines(&self, width: u16) -> Vec<String> {
        let mut shown: Vec<usize> = (0..self.columns.len()).filter(|at| self.is_used(*at)).collect();
        if self.widths(&shown).iter().sum::<usize>() > usize::from(width) {
            shown.retain(|at| self.kind(*at) != Kind::Spare);
        }
        let wrapped = self.wrapped(&shown, usize::from(width));
        let words = self.whole_words(&shown, &wrapped, usize::from(width));
        let mut grid = Grid::new();
        grid.load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width.saturating_sub(1))
            .set_header(shown.iter().filter_map(|at| Some(self.columns.get(*at)?.header.as_str())));
        for row in &self.rows {
            let cell = |at: &usize| row.get(*at).map_or("", String::as_str);
            grid.add_row(shown.iter().map(cell).map(|cell| if cell.is_empty() { "-" } else { cell }));
        }
        for (place, at) in shown.iter().enumerate() {
            let Some(column) = grid.column_mut(place) else { continue };
            if !wrapped.contains(at) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            } else if let Some(word) = words.get(place) {
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(*word as u16)));
            }
            if self.kind(*at) == Kind::Number {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        grid.lines().map(|line| format!(" {}", line.trim_end())).collect()
    }

    /// The columns that are wrapped: text, and the widest others if that is not enough.
    fn wrapped(&self, shown: &[usize], width: usize) -> Vec<usize> {
        const LEAST: usize = 12;
        let mut wrapped: Vec<usize> =
            shown.iter().copied().filter(|at| self.kind(*at) == Kind::Text).collect();
        let widths = self.widths(shown);
        loop {
            let columns = || shown.iter().zip(&widths).filter(|(_, width)| **width > LEAST);
            let least =
                |(at, width): (&usize, &usize)| if wrapped.contains(at) { LEAST.min(*width) } else { *width };
            if shown.iter().zip(&widths).map(least).sum::<usize>() <= width {
                return wrapped;
            }
            let next = columns().filter(|(at, _)| !wrapped.contains(at)).max_by_key(|(_, width)| **width);
            let Some((at, _)) = next else { return wrapped };
            wrapped.push(*at);
        }
    }

    /// How wide each column is if no word is broken; nothing if that does not fit.
    fn whole_words(&self, shown: &[usize], wrapped: &[usize], width: usize) -> Vec<usize> {
        let longest = |at: &usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(*at));
            let words = cells.flat_map(|cell| cell.split(' ')).map(|word| word.chars().count());
            words.max().unwrap_or(0) + 2
        };
        let widths = shown.iter().zip(self.widths(shown));
        let widths: Vec<usize> =
            widths.map(|(at, width)| if wrapped.contains(at) { longest(at) } else { width }).collect();
        if widths.iter().sum::<usize>() < width { widths } else { Vec::new() }
    }

    /// How wide each column would like to be, with its blanks.
    fn widths(&self, shown: &[usize]) -> Vec<usize> {
        let width = |at: &usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(*at)).map(|cell| cell.chars().count());
            let header = self.columns.get(*at).map_or(0, |column| column.header.len());
            cells.max().unwrap_or(0).max(header) + 2
        };
        shown.iter().map(width).collect()
    }

    fn kind(&self, at: usize) -> Kind {
        self.columns.get(at).map_or(Kind::Whole, |column| column.kind)
    }

    fn is_used(&self, column: usize) -> bool {
        self.rows.iter().any(|row| row.get(column).is_some_and(|cell| !cell.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["name", ">size", "unused", "~note"]);
        table.row(["flows".to_owned(), "8".to_owned(), String::new(), "a long remark ".repeat(8)]);
        table.row(["x".to_owned(), "1024".to_owned(), String::new(), String::new()]);
        table
    }

    #[test]
    fn cells_wrap_and_empty_columns_vanish() {
        let narrow = table().lines(60);
        assert!(narrow.iter().all(|line| line.chars().count() <= 60), "{narrow:#?}");
        assert!(narrow.len() > 3);
        assert!(!narrow[0].contains("unused"));
        let wide = table().lines(200);
        assert_eq!(wide.len(), 3);
        assert_eq!(wide[2], "  x      1024  -");
    }

    #[test]
    fn what_does_not_fit_gives_way() {
        let mut table = Table::new(&["name", "?spare", "other"]);
        table.row(["n".repeat(30), "s".repeat(20), "o".repeat(20)]);
        assert!(table.lines(100)[0].contains("spare"));
        assert!(!table.lines(60)[0].contains("spare"));
        for width in [40, 60, 80] {
            let lines = table.lines(width);
            assert!(lines.iter().all(|line| line.len() <= usize::from(width)), "{lines:#?}");
        }
    }
}
