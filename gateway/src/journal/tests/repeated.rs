//! Whatever fails and whenever: what is repeated leaves the disk as the memory says.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::oneshot::error::TryRecvError;
use uuid::Uuid;

use crate::journal::memory::Memory;
use crate::journal::store::{Found, Operation};

/// A disk: what was written, and what is safe from a power cut.
#[derive(Clone, Default)]
struct Disk {
    open: BTreeSet<Uuid>,
    settled: BTreeMap<u64, Vec<u8>>,
}

impl Disk {
    fn apply(&mut self, operations: &[Operation]) {
        for operation in operations {
            match operation {
                Operation::Admit { id, .. } => drop(self.open.insert(*id)),
                Operation::Forget { id } => drop(self.open.remove(id)),
                Operation::Settle { id, sequence, record } => {
                    self.open.remove(id);
                    self.settled.insert(*sequence, record.to_vec());
                }
                Operation::Remove { sequences } => self.settled.retain(|known, _| !sequences.contains(known)),
                Operation::SetAside { sequence, .. } => drop(self.settled.remove(sequence)),
            }
        }
    }
}

/// One random history.
#[expect(clippy::too_many_lines, reason = "one history, told in one place")]
fn history(random: &mut fastrand::Rng, strict: bool) {
    let mut memory = Memory::new(&Found { open: Vec::new(), settled: Vec::new(), aside: 0, last: 0 }, 0);
    let (mut written, mut safe) = (Disk::default(), Disk::default());
    let mut pending = Vec::new();
    let mut admitted = Vec::new();
    for _ in 0..300 {
        match random.u8(0..12) {
            0..4 => {
                let id = Uuid::now_v7();
                pending.push((id, memory.admit(id, b"admitted")));
            }
            4..6 if !admitted.is_empty() => {
                let id = admitted.swap_remove(random.usize(..admitted.len()));
                drop(memory.settle(id, id.as_bytes()));
            }
            6 => {
                let oldest: Vec<u64> = memory.oldest(3).into_iter().map(|(sequence, _)| sequence).collect();
                memory.remove(&oldest);
            }
            7 => {
                if let Some((sequence, _)) = memory.oldest(1).pop() {
                    memory.set_aside(sequence, b"kept".to_vec());
                }
            }
            8..10 => {
                let group = memory.unwritten();
                written.apply(&group);
                memory.wrote(group.len(), strict);
            }
            10 => {
                let mark = memory.mark();
                let failed = random.u8(0..3) == 0;
                if failed {
                    // A power cut or a refused write; what was written may be there or not.
                    memory.failed();
                    memory.repaired();
                    written = if random.bool() { written } else { safe.clone() };
                } else {
                    safe = written.clone();
                }
                memory.synchronised(mark);
            }
            _ => {}
        }
        pending.retain_mut(|(id, answer)| match answer.try_recv() {
            Ok(Ok(())) => {
                let seen = if strict { &safe } else { &written };
                assert!(seen.open.contains(id), "answered before it was on disk");
                admitted.push(*id);
                false
            }
            Ok(Err(_)) => false,
            Err(TryRecvError::Empty) => true,
            Err(TryRecvError::Closed) => panic!("never answered"),
        });
    }
    while !memory.idle() {
        let group = memory.unwritten();
        written.apply(&group);
        memory.wrote(group.len(), false);
    }
    memory.synchronised(memory.mark());
    for (id, mut answer) in pending {
        if answer.try_recv() == Ok(Ok(())) {
            admitted.push(id);
        }
    }
    assert_eq!(written.open, admitted.into_iter().collect());
    let waiting: Vec<u64> = memory.oldest(usize::MAX).into_iter().map(|(sequence, _)| sequence).collect();
    assert_eq!(written.settled.into_keys().collect::<Vec<_>>(), waiting);
}

#[test]
fn any_history_ends_with_the_same_on_disk_and_in_memory() {
    for seed in 0..2000 {
        for strict in [false, true] {
            history(&mut fastrand::Rng::with_seed(seed), strict);
        }
    }
}
