//! The list of codes. Codes are never reused and never change their meaning; each has a page in `docs/errors/`.

use super::Class;
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! codes {
    ($($name:ident = $class:ident, $title:literal;)*) => {
        /// A stable error code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[allow(missing_docs, reason = "each code's title says what it is, and its page in docs/errors says the rest")]
        pub enum Code { $($name),* }

        impl Code {
            /// Every code there is, in order.
            pub const ALL: &'static [Code] = &[$(Code::$name),*];

            /// `TG204`
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => stringify!($name)),* }
            }

            /// What the retry policy reads.
            pub fn class(self) -> Class {
                match self { $(Code::$name => Class::$class),* }
            }

            /// The heading of the code's page.
            pub fn title(self) -> &'static str {
                match self { $(Code::$name => $title),* }
            }
        }
    };
}

codes! {
    // 1: the pipeline folder and the command line
    TG101 = User, "the pipeline file cannot be read";
    TG102 = User, "the pipeline file has errors";
    TG103 = User, "an environment variable is not set";
    TG104 = User, "there is no such pipeline";
    TG105 = User, "a pipeline test file cannot be read";
    TG106 = User, "the command was used in a way that cannot work";
    // 2: what a source gave
    TG201 = Transient, "the source cannot be reached";
    TG202 = User, "the publisher refuses the request";
    TG203 = User, "the source gave another format than was promised";
    TG204 = User, "the source no longer has a column";
    TG205 = User, "the source is larger than allowed";
    TG206 = User, "a file cannot be read";
    TG207 = User, "the bytes cannot be decoded";
    TG208 = User, "too many rows were rejected";
    TG209 = Transient, "the publication has disappeared";
    TG210 = User, "the source is empty";
    // 3: transform, check, diff
    TG301 = User, "the SQL is not valid";
    TG302 = User, "the SQL failed while it ran";
    TG303 = User, "the table cannot have this shape";
    TG304 = User, "a check failed";
    TG305 = Bug, "the numbers of a run do not add up";
    TG306 = User, "the memory limit is too small for this work";
    TG307 = User, "the table's columns have changed their types";
    // 4: state
    TG401 = Terminal, "the ledger cannot be used";
    TG402 = Transient, "another process is running this pipeline";
    TG403 = Transient, "the disk did not take what was written";
    TG404 = User, "there is no such run";
    TG405 = User, "the run is not held";
    TG406 = Terminal, "the ledger was written by a newer Tidegate";
    TG407 = Terminal, "a kept file is missing or was altered";
    TG408 = User, "a newer run has been published";
    TG409 = User, "there is no such quarantined row";
    TG410 = Transient, "the intake is full";
    // 5: destinations
    TG501 = Transient, "a destination did not take the changes";
    TG502 = Terminal, "the table was changed by somebody else";
    // 6: notifications
    TG601 = Transient, "a notification could not be delivered";
    TG602 = User, "a template is not valid";
    // 7: the server
    TG701 = User, "the request has no valid token";
    TG702 = User, "the token does not allow this";
    TG703 = User, "the request is not valid";
    // 9: our own mistakes
    TG901 = Bug, "Tidegate made a mistake";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
