//! Finding and reading pipeline folders.

use sha2::{Digest, Sha256};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tidegate_core::{
    Code, Failure,
    pipeline::{LoadError, Pipeline, PipelineFile, SqlFile, load},
};

/// Where values of `${NAME}` come from.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The process's environment.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads the pipeline at `path`: its folder, its `pipeline.yaml`, or the name of its folder below `pipelines`.
pub fn read(path: &Path, env: Environment<'_>) -> Result<Arc<Pipeline>, LoadError> {
    let file = file(path)?;
    let shown = file.display().to_string();
    let one = |failure: Failure| LoadError { failures: vec![failure] };
    let text = std::fs::read_to_string(&file)
        .map_err(|error| one(Failure::new(Code::TG101, format!("{shown} cannot be read")).because(&error)))?;
    let (parsed, locations) = load(&shown, &text, env)?;
    let mut pipeline = Pipeline { file: parsed, path: shown, transform: None, locations, definition: String::new() };
    if let Some(name) = pipeline.file.transform.clone() {
        let sql = file.parent().unwrap_or(Path::new("")).join(&name);
        let text = std::fs::read_to_string(&sql).map_err(|error| {
            one(Failure::new(Code::TG101, format!("the transform `{name}` cannot be read"))
                .at(pipeline.location(&["transform"]))
                .because(&error))
        })?;
        pipeline.transform = Some(SqlFile { path: sql.display().to_string(), text });
    }
    pipeline.definition = definition(&pipeline.file, pipeline.transform.as_ref());
    Ok(Arc::new(pipeline))
}

fn definition(file: &PipelineFile, transform: Option<&SqlFile>) -> String {
    let text = Pipeline::definition_text(file, transform.map(|sql| sql.text.as_str()));
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn file(path: &Path) -> Result<PathBuf, LoadError> {
    let file = if path.is_dir() { path.join("pipeline.yaml") } else { path.to_owned() };
    if file.is_file() {
        return Ok(file);
    }
    // What other commands call by its name is found by it.
    let usual = Path::new("pipelines").join(path).join("pipeline.yaml");
    if path.components().count() == 1 && usual.is_file() {
        return Ok(usual);
    }
    let mut failure = Failure::new(Code::TG104, format!("there is no pipeline at {}", path.display()));
    failure = match nearby() {
        found if found.is_empty() => failure.hint("`tidegate init URL` writes one"),
        found => failure.detail("there are", found.join(", ")),
    };
    Err(LoadError { failures: vec![failure] })
}

/// The pipeline folders directly below `folder`, by name.
pub fn below(folder: &str) -> Vec<PathBuf> {
    let found = glob::glob(&format!("{folder}/*/pipeline.yaml")).into_iter().flatten().flatten();
    found.filter_map(|path| path.parent().map(Path::to_owned)).collect()
}

/// Pipelines below the current folder, for the hint.
fn nearby() -> Vec<String> {
    let patterns = ["pipeline.yaml", "*/pipeline.yaml", "pipelines/*/pipeline.yaml"];
    let found = patterns.iter().filter_map(|pattern| glob::glob(pattern).ok()).flatten().flatten();
    found.filter_map(|path| path.parent().map(|folder| folder.display().to_string())).filter(|name| !name.is_empty()).take(5).collect()
}
