//! Every interleaving of two replicas that lease one account's credit, hold from it, settle, ship, bring back, die, are
//! buried and come back. The purse is the gateway's own; the database is its statements in miniature.

use gateway::admission::purse::{Held, Purse};
use stateright::{Checker, Model, Property};

/// What the account has, and what requests cost at most: enough for two.
const CREDIT: u64 = 4;
const COST: u64 = 2;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct World {
    balance: u64,
    /// What the gateway bore because a lease was lost.
    losses: u64,
    paid: u64,
    replicas: [Replica; 2],
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Replica {
    /// The row in the database.
    lease: u64,
    /// The others took it for dead at least once.
    buried: bool,
    up: bool,
    purse: Purse,
    held: Vec<Held>,
    /// Settled in the journal, which outlives the process.
    journal: Vec<u64>,
}

impl Replica {
    /// How a purse came to hold what it holds decides how much it asks for, not what it may give: without its memories
    /// there are few enough states to see them all.
    fn forget_the_past(&mut self) {
        let spendable = (0..=CREDIT).rev().find(|amount| self.purse.covers(*amount)).unwrap_or(0);
        let amounts: Vec<u64> = self.held.iter().map(|held| held.amount).collect();
        self.purse = Purse::default();
        self.purse.add(spendable + amounts.iter().sum::<u64>(), 0);
        self.held = amounts.into_iter().map(|amount| self.purse.hold(amount)).collect();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Lease(usize),
    Hold(usize),
    Settle(usize, u64),
    Ship(usize),
    BringBack(usize),
    Die(usize),
    Bury(usize),
    Restart(usize),
}

impl World {
    fn left_over(&self) -> u64 {
        self.balance - self.replicas.iter().map(|replica| replica.lease).sum::<u64>()
    }

    /// `share_of` and `lease_credit` of the migrations.
    fn lease(&mut self, at: usize) {
        let (left_over, unit) = (self.left_over(), self.replicas[at].purse.missing(COST));
        let granted = if left_over >= unit { unit } else { 0 };
        self.replicas[at].lease += granted;
        self.replicas[at].purse.add(granted, left_over - granted);
    }

    /// The settlement's transaction: from the lease, then from what nobody has leased, and the rest from the losses.
    fn ship(&mut self, at: usize) {
        let cost = self.replicas[at].journal.remove(0);
        let from_lease = cost.min(self.replicas[at].lease);
        let from_free = (cost - from_lease).min(self.left_over());
        self.replicas[at].lease -= from_lease;
        self.balance -= from_lease + from_free;
        self.paid += from_lease + from_free;
        self.losses += cost - from_lease - from_free;
    }
}

struct Leases;

impl Model for Leases {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let up = Replica { up: true, ..Replica::default() };
        vec![World { balance: CREDIT, replicas: [up.clone(), up], ..World::default() }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        for (at, replica) in world.replicas.iter().enumerate() {
            if !replica.up {
                // A dead one's journal is read at its next start; the others may bury it before.
                steps.extend([Step::Bury(at), Step::Restart(at)]);
                continue;
            }
            if !replica.purse.covers(COST) {
                steps.push(Step::Lease(at));
            } else {
                steps.extend([Step::Hold(at), Step::BringBack(at)]);
            }
            if !replica.held.is_empty() {
                steps.extend((0..=COST).map(|spent| Step::Settle(at, spent)));
            }
            if !replica.journal.is_empty() {
                steps.push(Step::Ship(at));
            }
            steps.push(Step::Die(at));
        }
    }

    fn next_state(&self, before: &World, step: Step) -> Option<World> {
        let mut world = before.clone();
        match step {
            Step::Lease(at) => world.lease(at),
            Step::Hold(at) => {
                let held = world.replicas[at].purse.hold(COST);
                world.replicas[at].held.push(held);
            }
            Step::Settle(at, spent) => {
                let replica = &mut world.replicas[at];
                let held = replica.held.remove(0);
                replica.purse.settle(held, spent);
                replica.journal.extend((spent > 0).then_some(spent));
            }
            Step::Ship(at) => world.ship(at),
            Step::BringBack(at) => {
                let replica = &mut world.replicas[at];
                replica.lease -= replica.purse.take_all();
            }
            Step::Die(at) => {
                let replica = &mut world.replicas[at];
                // What was held is settled as free when the journal is read.
                (replica.up, replica.purse, replica.held) = (false, Purse::default(), Vec::new());
            }
            Step::Bury(at) => (world.replicas[at].lease, world.replicas[at].buried) = (0, true),
            Step::Restart(at) => {
                while !world.replicas[at].journal.is_empty() {
                    world.ship(at);
                }
                (world.replicas[at].lease, world.replicas[at].up) = (0, true);
            }
        }
        world.replicas.iter_mut().for_each(Replica::forget_the_past);
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("what is leased is there", |_, world: &World| {
                world.replicas.iter().map(|replica| replica.lease).sum::<u64>() <= world.balance
            }),
            Property::always("every credit is with the account or paid", |_, world: &World| {
                world.balance + world.paid == CREDIT
            }),
            Property::always("a replica spends what it has leased and nothing else", |_, world: &World| {
                world.replicas.iter().all(|replica| {
                    let held: u64 = replica.held.iter().map(|held| held.amount).sum();
                    let journal: u64 = replica.journal.iter().sum();
                    let spendable = (0..=CREDIT).rev().find(|amount| replica.purse.covers(*amount)).unwrap_or(0);
                    replica.buried || spendable + held + journal <= replica.lease
                })
            }),
            Property::always("the gateway loses only by what was buried", |_, world: &World| {
                world.losses == 0 || world.replicas.iter().any(|replica| replica.buried)
            }),
            Property::sometimes("both are served at once", |_, world: &World| {
                world.replicas.iter().all(|replica| !replica.held.is_empty())
            }),
            Property::sometimes("one alone spends it all", |_, world: &World| world.balance == CREDIT % COST),
            Property::sometimes("a buried replica's work is paid by the gateway", |_, world: &World| world.losses > 0),
        ]
    }

    fn within_boundary(&self, world: &World) -> bool {
        // A replica that is buried again and again can cost the gateway as often; once shows it.
        world.losses <= COST && world.replicas.iter().all(|replica| replica.journal.len() <= 1)
    }

    fn format_action(&self, step: &Step) -> String {
        format!("{step:?}")
    }
}

#[test]
fn no_interleaving_of_leases_and_holds_overdraws_an_account() {
    let checked = Leases.checker().threads(2).spawn_bfs().join();
    checked.assert_properties();
    assert!(checked.unique_state_count() > 1_000, "{} states", checked.unique_state_count());
}
