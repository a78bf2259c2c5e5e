//! Where the cells of a block of records are.

use tidegate_core::quarantine::Reason;

const FLAG: u64 = 1 << 31;
const HALF: u32 = 32;

/// A cell: a range of the block's bytes, whether it was quoted, and whether it has doubled quotes in it.
///
/// One number, because two halves that are written one by one and read as one stall the processor at every cell: the lower
/// half has the start and at its top "quoted", the upper one the end and "has doubled quotes". A block and its left-over are
/// a few MiB, far below 2^31.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span(u64);

impl Span {
    /// No cell at all: reads as an unquoted empty one.
    pub(super) const NONE: Span = Span(0);

    pub(super) fn plain(start: usize, end: usize) -> Self {
        Self(start as u64 | (end as u64) << HALF)
    }

    pub(super) fn quoted(start: usize, end: usize, escaped: bool) -> Self {
        let Self(range) = Self::plain(start, end);
        Self(range | FLAG | if escaped { FLAG << HALF } else { 0 })
    }

    #[allow(clippy::cast_possible_truncation, reason = "31 bits each")]
    pub(super) fn bytes(self, block: &[u8]) -> &[u8] {
        &block[(self.0 & (FLAG - 1)) as usize..(self.0 >> HALF & (FLAG - 1)) as usize]
    }

    pub(super) fn is_quoted(self) -> bool {
        self.0 & FLAG != 0
    }

    pub(super) fn is_escaped(self) -> bool {
        self.0 & FLAG << HALF != 0
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
    /// How many columns are declared.
    declared: usize,
    /// A span for each declared column of each good record, one record after the other, and those of the record begun last.
    cells: Vec<Span>,
    /// Byte range of each good record.
    pub(super) records: Vec<(u32, u32)>,
    /// Lines of the block before each good record.
    pub(super) lines: Vec<u32>,
    /// Records that are not rows.
    pub(super) malformed: Vec<Malformed>,
    /// Lines in the consumed part of the block.
    pub(super) line_count: u64,
}

impl Spans {
    /// For records of so many declared columns, about `capacity` of them, with `most` cells.
    pub(super) fn new(declared: usize, capacity: usize, most: usize) -> Self {
        Self {
            declared,
            cells: Vec::with_capacity(((capacity + 1) * declared).min(most)),
            records: Vec::with_capacity(capacity),
            lines: Vec::with_capacity(capacity),
            malformed: Vec::new(),
            line_count: 0,
        }
    }

    /// The cells of a declared column, one for each good record.
    pub(super) fn column(&self, column: usize) -> impl ExactSizeIterator<Item = Span> {
        self.cells.chunks_exact(self.declared.max(1)).map(move |record| record[column])
    }

    /// The cell of a good record.
    pub(super) fn cell(&self, record: usize, column: usize) -> Span {
        self.cells[record * self.declared + column]
    }

    /// Begins a record of which no cell is known. Columns that the file does not have stay without.
    pub(super) fn begin_record(&mut self) {
        self.cells.resize((self.records.len() + 1) * self.declared, Span::NONE);
    }

    /// Sets a cell of the record begun last.
    pub(super) fn set(&mut self, column: usize, span: Span) {
        let begun = self.cells.len() - self.declared;
        self.cells[begun + column] = span;
    }

    /// Takes back a record that did not come to its end.
    pub(super) fn undo_record(&mut self) {
        self.cells.truncate(self.records.len() * self.declared);
    }

    #[allow(clippy::cast_possible_truncation, reason = "a block and its left-over are a few MiB, far below 2^31")]
    pub(super) fn end_record(&mut self, start: usize, end: usize, line: u64, bad: Option<(Reason, usize)>) {
        match bad {
            Some((reason, cells)) => {
                self.undo_record();
                self.malformed.push(Malformed { start, end, line, reason, cells });
            }
            None => {
                self.records.push((start as u32, end as u32));
                self.lines.push(line as u32);
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
