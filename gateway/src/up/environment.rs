//! `up.env` in the data folder: what a script needs to use a running `up`, to be read with `. up.env`.
//! Addresses and keys stay in it after the end, so scripts go on working after a restart; process ids do not.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;

use crate::admin::FIRST_USER;

/// What `up.env` says.
#[derive(Clone, Debug)]
pub(super) struct Environment {
    /// The gateway's address, without a path.
    pub(super) origin: String,
    /// A key of the first account.
    pub(super) api_key: String,
    /// The model that the node offers.
    pub(super) model: String,
    /// A management key of the first admin.
    pub(super) admin_token: String,
    /// The first admin's password, if it was made here.
    pub(super) admin_password: Option<String>,
    /// The Postgres that holds everything.
    pub(super) database_url: String,
}

/// The processes of a running `up`; a process that isn't running has none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pids {
    pub(super) gateway: Option<u32>,
    pub(super) node: Option<u32>,
    pub(super) postgres: Option<u32>,
    pub(super) up: Option<u32>,
}

impl Environment {
    /// Replaces the file in one step, readable by its owner only.
    pub(super) fn write(&self, file: &Path, pids: Pids) -> anyhow::Result<()> {
        let new = file.with_extension("env.new");
        let written = || {
            // A leftover of another mode would keep its mode.
            let _ = fs::remove_file(&new);
            let mut out = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new)?;
            out.write_all(self.text(pids).as_bytes())?;
            out.sync_all()?;
            fs::rename(&new, file)
        };
        written().with_context(|| format!("{} can't be written", file.display()))
    }

    /// What the person who started `up` needs to know, with a command that works when pasted.
    pub(super) fn greeting(&self, data: &Path) -> String {
        let Environment { origin, api_key, model, .. } = self;
        let (base_url, console, data) = (self.base_url(), self.console(), data.display());
        let sign_in = match &self.admin_password {
            Some(password) => format!("{FIRST_USER} with the password {password}"),
            None => "as a user of this database".to_owned(),
        };
        format!(
            r#"
Commonwatt runs. Ctrl-C ends it.

  console   {console}
  sign in   {sign_in}
  base URL  {base_url}
  API key   {api_key}
  model     {model}
  API docs  {origin}/openapi.json
  state     {data}
  logs      {data}/logs
  scripts   . {data}/up.env

curl {base_url}/chat/completions \
  -H 'Authorization: Bearer {api_key}' -H 'Content-Type: application/json' \
  -d '{{"model":"{model}","max_tokens":60,"messages":[{{"role":"user","content":"Why is the sky blue?"}}]}}'

"#
        )
    }

    /// Where an `OpenAI` SDK is pointed at.
    fn base_url(&self) -> String {
        format!("{}/v1", self.origin)
    }

    /// Where a browser is pointed at.
    fn console(&self) -> String {
        format!("{}/console/", self.origin)
    }

    fn text(&self, pids: Pids) -> String {
        let keys = [
            ("BASE_URL", &*self.base_url()),
            ("API_KEY", &self.api_key),
            ("MODEL", &self.model),
            ("CONSOLE_URL", &self.console()),
            ("ADMIN_EMAIL", FIRST_USER),
            ("ADMIN_PASSWORD", self.admin_password.as_deref().unwrap_or_default()),
            ("ADMIN_TOKEN", &self.admin_token),
            ("DATABASE_URL", &self.database_url),
        ];
        let pids = [
            ("GATEWAY_PID", pids.gateway),
            ("NODE_PID", pids.node),
            ("POSTGRES_PID", pids.postgres),
            ("UP_PID", pids.up),
        ];
        let keys = keys.into_iter().map(|(name, value)| line(name, value));
        let pids = pids.into_iter().filter_map(|(name, pid)| pid.map(|pid| line(name, &pid.to_string())));
        keys.chain(pids).collect()
    }
}

/// The gateway and the node that an earlier `up` names in its file: it was killed, else they would not stand there.
pub(super) fn pids_left_behind(file: &Path) -> Vec<u32> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let value = |line: &str| {
        let (name, value) = line.split_once('=')?;
        ["GATEWAY_PID", "NODE_PID"].contains(&name).then(|| value.trim_matches('\'').parse().ok())?
    };
    text.lines().filter_map(value).collect()
}

/// One line that a POSIX shell reads back as the same value.
fn line(name: &str, value: &str) -> String {
    format!("{name}='{}'\n", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::process::Command;

    use super::*;

    fn environment(model: &str) -> Environment {
        Environment {
            origin: "http://127.0.0.1:8080".to_owned(),
            api_key: "sk-cw-a-b".to_owned(),
            model: model.to_owned(),
            admin_token: "t".to_owned(),
            admin_password: Some("p".to_owned()),
            database_url: "postgres:///commonwatt?host=%2Frun&user=commonwatt".to_owned(),
        }
    }

    #[test]
    fn the_greeting_says_where_the_console_is_and_how_to_sign_in() {
        let greeting = environment("m").greeting(Path::new("/data"));
        assert!(greeting.contains("http://127.0.0.1:8080/console/"), "{greeting}");
        assert!(greeting.contains("admin@localhost with the password p"), "{greeting}");
        assert!(greeting.contains(r#""max_tokens":60"#), "whoever pastes it waits for no long answer: {greeting}");
        let other = Environment { admin_password: None, ..environment("m") }.greeting(Path::new("/data"));
        assert!(other.contains("sign in   as a user of this database"), "{other}");
    }

    #[test]
    fn a_shell_reads_back_what_was_written() {
        let file = std::env::temp_dir().join(format!("commonwatt-{}.env", std::process::id()));
        let pids = Pids { gateway: Some(11), node: Some(12), postgres: None, up: Some(13) };
        let odd = r#"it's a "model" $HOME `id` \ & ;"#;
        environment("before").write(&file, pids).unwrap();
        environment(odd).write(&file, pids).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);

        let script = format!(r#". {} && printf '%s|%s|%s' "$MODEL" "$DATABASE_URL" "$UP_PID""#, file.display());
        let read = Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
        let expected = format!("{odd}|postgres:///commonwatt?host=%2Frun&user=commonwatt|13");
        assert_eq!(String::from_utf8(read.stdout).unwrap(), expected);

        assert_eq!(pids_left_behind(&file), [11, 12]);
        environment(odd).write(&file, Pids::default()).unwrap();
        assert!(pids_left_behind(&file).is_empty());
        fs::remove_file(file).unwrap();
    }
}
