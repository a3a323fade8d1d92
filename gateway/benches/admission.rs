//! What stands in each request's way before a node is asked, and for each piece of its answer: the key looked up, credit and
//! limits held, the journal written, the answer's events told apart. Needs a Postgres in `DATABASE_URL`.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::FutureExt;
use gateway::admission::{Admissions, Amounts};
use gateway::auth::key::{Key, Keys};
use gateway::changes::LastLook;
use gateway::config::{AdminAction, StoreConfig};
use gateway::journal::{Journal, JournalSettings};
use gateway::replicas::Replica;
use gateway::secrets::Secrets;
use gateway::{admin, database};
use openapi::sse::Scanner;
use tokio::runtime::Runtime;
use uuid::Uuid;

const LEASE: Duration = Duration::from_secs(900);
const MOST: Amounts = Amounts { requests: 1, tokens: 500, nanocredits: 100_000, microjoules: 0 };
/// As large as those of requests are.
const ADMITTED: [u8; 360] = [b'a'; 360];
const SETTLED: [u8; 1800] = [b's'; 1800];
const MIB: u64 = 1024 * 1024;
const LONGEST_EVENT: usize = 1024 * 1024;

/// A key that was asked for before, and an account whose credit is leased.
struct Known {
    keys: Keys,
    text: String,
    key: Arc<Key>,
    look: Arc<LastLook>,
    admissions: Admissions,
}

async fn known(folder: &Path) -> Known {
    #[expect(clippy::disallowed_methods, reason = "what `with-postgres` gives to every program that it starts")]
    let database_url = std::env::var("DATABASE_URL").unwrap();
    let store = StoreConfig { database_url, data: folder.to_owned() };
    admin::run(&store, AdminAction::Bootstrap { out: folder.to_owned() }).await.unwrap();
    let text = std::fs::read_to_string(folder.join("api_key")).unwrap().trim().to_owned();
    let database = database::open(&store.database_url, 4).await.unwrap();
    let look = Arc::new(LastLook::default());
    let keys = Keys::new(database.clone(), Arc::new(Secrets::open(folder).unwrap()), Arc::clone(&look));
    let key = keys.find(&text).await.unwrap();
    let replica = Replica::register(&database, Uuid::now_v7(), None, LEASE).await.unwrap();
    let (admissions, refills) = Admissions::new(database, Arc::new(replica));
    // Nobody leases more: what the first hold brings is given back each time.
    std::mem::forget(refills);
    drop(admissions.hold(&key, MOST).await.unwrap());
    Known { keys, text, key, look, admissions }
}

fn pieces(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let folder = folder();
    let known = runtime.block_on(known(&folder));
    let mut group = criterion.benchmark_group("request");
    group.measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(300));
    group.bench_function("key looked up", |bencher| {
        bencher.iter(|| {
            // Somebody else does this, a few times a second.
            known.look.was(Instant::now());
            known.keys.find_and_watch(black_box(&known.text)).now_or_never().unwrap().unwrap()
        });
    });
    group.bench_function("credit and limits held", |bencher| {
        bencher.iter(|| known.admissions.hold(&known.key, black_box(MOST)).now_or_never().unwrap().unwrap());
    });
    let settings = JournalSettings { strict: false, most_bytes: 256 * MIB, least_free_bytes: MIB };
    let journal = Journal::open(&folder.join("journal"), settings).unwrap().journal;
    let mut sequence = 0;
    group.bench_function("journal written", |bencher| {
        bencher.iter(|| {
            let id = Uuid::now_v7();
            runtime.block_on(journal.admit(id, &ADMITTED)).unwrap();
            runtime.block_on(journal.settle(id, &SETTLED));
            sequence += 1;
            journal.remove(&[sequence]);
        });
    });
    let answer: String = (0..100).map(|_| format!("data: {{\"choices\":[{}]}}\n\n", "x".repeat(190))).collect();
    group.bench_function("100 events, as one piece", |bencher| {
        bencher.iter(|| Scanner::new(LONGEST_EVENT).push(black_box(answer.as_bytes())).unwrap());
    });
    group.finish();
    runtime.block_on(journal.close());
    std::fs::remove_dir_all(folder).unwrap();
}

fn folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("bench-{}", Uuid::now_v7()));
    std::fs::create_dir(&folder).unwrap();
    folder
}

criterion_group!(benches, pieces);
criterion_main!(benches);
