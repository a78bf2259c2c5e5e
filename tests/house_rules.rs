//! Rules of the house that no compiler knows.

use crate::environment::project;
use std::path::PathBuf;
use tidegate_core::Code;

/// Files of the project with this ending, but for build output.
fn files(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![project()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "tidegate-demo" {
                folders.push(path);
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn every_error_code_has_its_page_and_every_page_its_code() {
    let folder = project().join("docs/errors");
    for code in Code::ALL {
        let page =
            std::fs::read_to_string(folder.join(format!("{code}.md"))).unwrap_or_else(|_| panic!("docs/errors/{code}.md is not there"));
        assert!(
            page.starts_with(&format!("# {code}: {}\n", code.title())),
            "docs/errors/{code}.md must begin with `# {code}: {}`",
            code.title()
        );
    }
    let pages =
        std::fs::read_dir(folder).unwrap().filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("TG")).count();
    assert_eq!(pages, Code::ALL.len());
}

#[test]
fn files_are_small() {
    for path in files(".rs") {
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 500, "{} has {lines} lines: what are the two things it does?", path.display());
    }
}

#[test]
fn inv_6_pure_core() {
    for path in files(".rs").into_iter().filter(|path| path.to_string_lossy().contains("crates/tidegate-core/src")) {
        let text = std::fs::read_to_string(&path).unwrap();
        for word in ["std::fs", "std::env", "std::net", "SystemTime::now", "Timestamp::now", "Instant::now"] {
            assert!(!text.contains(word), "{} uses {word}", path.display());
        }
    }
}

#[test]
fn the_generated_reference_is_up_to_date() {
    let written = std::fs::read_to_string(project().join("docs/reference/pipeline.schema.json")).unwrap_or_default();
    let schema = crate::environment::Environment::new().expect(0, &["schema"]).stdout;
    assert!(written == schema, "run `docs/generate` and commit what it writes");
}

#[test]
fn the_reference_of_commands_says_what_help_says() {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let reference = std::fs::read_to_string(project().join("docs/reference/commands.md")).unwrap();
    let mut sections = reference.split("\n### ");
    // Options that every command has are explained once, at the top.
    let common = words(sections.next().unwrap());
    let environment = crate::environment::Environment::new();
    for section in sections {
        let name = section.lines().next().unwrap();
        let args: Vec<&str> = name.split(' ').chain(["--help"]).collect();
        let help = environment.expect(0, &args).stdout;
        let (section, help) = (words(section), help.replace("\nOptions:\n", "\nOptions:\n\n"));
        for paragraph in help.lines().map(str::trim).collect::<Vec<_>>().join("\n").split("\n\n").map(words) {
            let is_there = section.contains(&paragraph) || common.contains(&paragraph);
            assert!(is_there, "docs/reference/commands.md does not say what `tidegate {name} --help` says: {paragraph}");
        }
    }
}
