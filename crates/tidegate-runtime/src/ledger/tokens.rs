//! Tokens: who may do what over HTTP. Only their hashes are kept.

use super::Ledger;
use crate::{
    error::{Result, json, sql},
    raw::hex,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tidegate_core::{Code, Failure};

/// What a token allows. Each allows one kind of thing; `admin` allows all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Look at runs, events, tables, metrics.
    Read,
    /// Push rows.
    Ingest,
    /// Start, approve, discard, cancel, pause, resume.
    Operate,
    /// Everything.
    Admin,
}

impl Scope {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Ingest => "ingest",
            Scope::Operate => "operate",
            Scope::Admin => "admin",
        }
    }

    /// The scope named so, if there is one.
    pub fn parse(word: &str) -> Option<Self> {
        [Scope::Read, Scope::Ingest, Scope::Operate, Scope::Admin].into_iter().find(|scope| scope.as_str() == word)
    }

    /// Whether a token with these scopes may do what needs this one.
    pub fn allowed_by(self, scopes: &[Scope]) -> bool {
        scopes.contains(&self) || scopes.contains(&Scope::Admin)
    }
}

/// A token as it is listed.
#[derive(Debug, Clone, Serialize)]
pub struct Token {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// Since when it is valid.
    pub created_at: String,
}

fn hash(token: &str) -> String {
    hex(&Sha256::digest(token.as_bytes()))
}

impl Ledger {
    /// Makes a token. It is told once, here.
    pub async fn create_token(&self, name: &str, scopes: &[Scope], now: Timestamp) -> Result<String> {
        // 244 random bits from the operating system, in two parts.
        let token = format!("tg_{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        let done = sqlx::query("INSERT INTO tokens (name, hash, scopes, created_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (name) DO NOTHING")
            .bind(name.to_owned())
            .bind(hash(&token))
            .bind(serde_json::to_string(scopes).map_err(json)?)
            .bind(now.to_string())
            .execute(&self.writer)
            .await
            .map_err(sql)?;
        if done.rows_affected() == 0 {
            return Err(Failure::new(Code::TG106, format!("there is a token called `{name}` already"))
                .hint("`tidegate token revoke` takes it away"));
        }
        Ok(token)
    }

    /// Takes a token away. `false` if there was none.
    pub async fn revoke_token(&self, name: &str) -> Result<bool> {
        let done = sqlx::query("DELETE FROM tokens WHERE name = ?1").bind(name.to_owned()).execute(&self.writer).await.map_err(sql)?;
        Ok(done.rows_affected() == 1)
    }

    /// All tokens, by name.
    pub async fn tokens(&self) -> Result<Vec<Token>> {
        let rows: Vec<(String, String, String)> =
            sqlx::query_as("SELECT name, scopes, created_at FROM tokens ORDER BY name").fetch_all(&self.pool).await.map_err(sql)?;
        rows.into_iter()
            .map(|(name, scopes, created_at)| Ok(Token { name, scopes: serde_json::from_str(&scopes).map_err(json)?, created_at }))
            .collect()
    }

    /// What a token allows; none if it is not valid. Looked up by its hash, so that the time it takes says nothing about it.
    pub async fn scopes_of(&self, token: &str) -> Result<Option<Vec<Scope>>> {
        let row: Option<(String,)> =
            sqlx::query_as("SELECT scopes FROM tokens WHERE hash = ?1").bind(hash(token)).fetch_optional(&self.pool).await.map_err(sql)?;
        row.map(|(scopes,)| serde_json::from_str(&scopes).map_err(json)).transpose()
    }
}
