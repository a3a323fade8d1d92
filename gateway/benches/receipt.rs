//! What a receipt costs: on a request's way its commitments, and off it two signatures and as many checks.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use openapi::energy::{Boundary, Energy, Tier};
use openapi::log::entry::{Entry, Kind};
use openapi::price::Price;
use openapi::receipt::commitment::Salt;
use openapi::receipt::jws::{Jws, Signer};
use openapi::receipt::{NodeReceipt, VERSION};
use openapi::sse::Event;
use openapi::units::{Microjoules, Microseconds};
use uuid::Uuid;

const SALT: Salt = Salt([7; 32]);

fn receipt() -> NodeReceipt {
    NodeReceipt {
        v: VERSION,
        node: Uuid::nil(),
        gateway: "0".repeat(43),
        sequence: 1,
        previous: "0".repeat(64),
        request: Uuid::nil(),
        attempt: 1,
        model: "b".repeat(61),
        engine: "fp_0123456789ab".to_owned(),
        prompt_tokens: 500,
        cached_tokens: 0,
        begun_tokens: 0,
        completion_tokens: 100,
        started_at: Microseconds::new(1_700_000_000_000_000),
        duration_microseconds: Microseconds::new(3_000_000),
        energy: Energy::exact(Microjoules::new(11_000_000), (Tier::E, Boundary::NodeDc), "estimate/1"),
        price: Price::default(),
        seed: 7,
        request_commitment: SALT.request(b"{}"),
        answer_commitment: SALT.whole_answer(b"{}"),
        finish_reason: None,
    }
}

fn pieces(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("receipt");
    group.measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(300));
    let body = vec![b'a'; 60_000];
    group.bench_function("prompt of 60 KB", |bencher| bencher.iter(|| SALT.request(black_box(&body))));
    let event = Event { raw: format!("data: {}\n\n", "x".repeat(190)).into_bytes() };
    group.bench_function("answer of 100 events", |bencher| {
        bencher.iter(|| {
            let mut answer = SALT.answer();
            (0..100).for_each(|_| answer.event(black_box(&event)));
            answer.end()
        });
    });
    let (signer, claims) = (Signer::from_seed(&[1; 32]).unwrap(), receipt());
    let token = signer.sign(&claims).unwrap();
    group.bench_function("sign", |bencher| bencher.iter(|| signer.sign(black_box(&claims))));
    group.bench_function("verify", |bencher| {
        bencher.iter(|| Jws::read(black_box(&token)).unwrap().verify::<NodeReceipt>(&signer.public()).unwrap());
    });
    group.bench_function("leaf", |bencher| {
        bencher.iter(|| Entry::of(Kind::Receipt, black_box(token.as_bytes())).leaf())
    });
    group.finish();
}

criterion_group!(benches, pieces);
criterion_main!(benches);
