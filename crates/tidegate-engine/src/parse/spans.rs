//! Where the cells of a block of records are.

use tidegate_core::quarantine::Reason;

const FLAG: u32 = 1 << 31;

/// A cell: a range of the block's bytes, whether it was quoted, and whether it has doubled quotes in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// The top bit says "quoted".
    start: u32,
    /// The top bit says "has doubled quotes".
    end: u32,
}

#[allow(clippy::cast_possible_truncation, reason = "a block and its left-over are a few MiB, far below 2^31")]
impl Span {
    /// No cell at all: reads as an unquoted empty one.
    pub(super) const NONE: Span = Span { start: 0, end: 0 };

    pub(super) fn plain(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    pub(super) fn quoted(start: usize, end: usize, escaped: bool) -> Self {
        Self { start: start as u32 | FLAG, end: end as u32 | if escaped { FLAG } else { 0 } }
    }

    pub(super) fn bytes(self, block: &[u8]) -> &[u8] {
        &block[(self.start & !FLAG) as usize..(self.end & !FLAG) as usize]
    }

    pub(super) fn is_quoted(self) -> bool {
        self.start & FLAG != 0
    }

    pub(super) fn is_escaped(self) -> bool {
        self.end & FLAG != 0
    }
}

/// A record that has no cells to speak of.
pub(super) struct Malformed {
    pub(super) start: usize,
    pub(super) end: usize,
    /// Lines before it in the block.
    pub(super) line: u64,
    pub(super) reason: Reason,
    /// Cells it has.
    pub(super) cells: usize,
}

/// The records of a block.
pub(super) struct Spans {
    /// Per declared column, one span per good record.
    pub(super) columns: Vec<Vec<Span>>,
    /// Byte range of each good record.
    pub(super) records: Vec<(u32, u32)>,
    /// Lines of the block before each good record.
    pub(super) lines: Vec<u32>,
    /// Records that are not rows.
    pub(super) malformed: Vec<Malformed>,
    /// Lines in the consumed part of the block.
    pub(super) line_count: u64,
}

#[allow(clippy::cast_possible_truncation, reason = "a block and its left-over are a few MiB, far below 2^31")]
impl Spans {
    pub(super) fn new(columns: usize, capacity: usize) -> Self {
        Self {
            columns: vec![Vec::with_capacity(capacity); columns],
            records: Vec::with_capacity(capacity),
            lines: Vec::with_capacity(capacity),
            malformed: Vec::new(),
            line_count: 0,
        }
    }

    pub(super) fn push(&mut self, column: usize, span: Span) {
        self.columns[column].push(span);
    }

    /// Takes back the cells of a record that did not come to its end.
    pub(super) fn undo_record(&mut self) {
        let good = self.records.len();
        for column in &mut self.columns {
            column.truncate(good);
        }
    }

    pub(super) fn end_record(&mut self, start: usize, end: usize, line: u64, bad: Option<(Reason, usize)>) {
        match bad {
            Some((reason, cells)) => {
                self.undo_record();
                self.malformed.push(Malformed { start, end, line, reason, cells });
            }
            None => {
                self.records.push((start as u32, end as u32));
                self.lines.push(line as u32);
                let good = self.records.len();
                // Declared columns that the file does not have.
                for column in &mut self.columns {
                    if column.len() < good {
                        column.push(Span::NONE);
                    }
                }
            }
        }
    }

    pub(super) fn end_lines(&mut self, lines: u64) {
        self.line_count = lines;
    }

    /// Good and malformed records.
    pub(super) fn read(&self) -> u64 {
        (self.records.len() + self.malformed.len()) as u64
    }
}
