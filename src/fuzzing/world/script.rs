//! Bytes read as a world and its steps.

use super::{Input, Setup, Step, World, ledger::MOST_DATAGRAM};
use crate::{
    fuzzing::LIMITS,
    wire::{Credit, hello::PeerLimits},
};

/// Plays a world to its end, and has `observe` see each step before it is made.
pub(crate) fn play(bytes: &[u8], mut observe: impl FnMut(&dyn std::fmt::Debug)) {
    let mut input = Input::new(bytes);
    let setup = setup(&mut input);
    observe(&setup);
    let mut world = World::new(setup);
    // To settle takes as long as many steps.
    let mut rests = 1 + bytes.len() / 64;
    while let Some(op) = input.next() {
        if world.is_cut() {
            break;
        }
        if op == 0 && rests > 0 {
            rests -= 1;
            observe(&"settle");
            world.settle();
            continue;
        }
        let step = step(op, &world, &mut input);
        observe(&step);
        world.step(step);
    }
    observe(&"finish");
    world.finish();
}

fn setup(input: &mut Input<'_>) -> Setup {
    let pick =
        |input: &mut Input<'_>, choices: &[usize]| choices[usize::from(input.u8()) % choices.len()];
    let cut = |input: &mut Input<'_>| {
        let is_cut = input.u8() >= 224;
        let at = u64::from(input.u8()) * 8 + u64::from(input.u8() % 8);
        is_cut.then_some(at)
    };
    let send_window = Credit {
        bytes: pick(input, &[64, 1, 24, 200]) as u64,
        datagrams: pick(input, &[3, 1, 2, 8]) as u64,
    };
    Setup {
        limits: PeerLimits { max_sockets: pick(input, &[3, 1, 2, 6]) as u32, ..LIMITS },
        send_window,
        in_turn: pick(input, &[MOST_DATAGRAM, 100, 200, 4096]),
        buffer: pick(input, &[4096, 1, 40, 100]),
        pieces: (pick(input, &[16, 1, 7, 4096]), pick(input, &[8, 1, 5, 4096])),
        capacity: pick(input, &[256, 7, 40, 4096]),
        cut: (cut(input), cut(input)),
        echo: pick(input, &[1, 0, 2, 3]),
        room: pick(input, &[8, 1, 2, 64]),
        most_queued: pick(input, &[1024, 0, 512, 4096]) as u64,
        noise: (pick(input, &[0, 1, 40, 300]), pick(input, &[4096, 30, 64, 200])),
        failures: input.u8() % 2 == 1,
    }
}

/// The step that a byte, and those behind it, stand for.
fn step(op: u8, world: &World, input: &mut Input<'_>) -> Step {
    let pick = input.u8();
    let ids = world.client.ids();
    let id = ids.get(usize::from(pick) % ids.len().max(1)).copied();
    // Half of the transfers are short ones.
    let most = if pick < 128 { usize::from(pick % 32) + 1 } else { 4096 };
    match (op, id) {
        (..=31, _) => Step::ClientWrites(most),
        (..=63, _) => Step::StubReads(most),
        (..=95, _) => Step::StubWrites(most),
        (..=127, _) => Step::ClientReads(most),
        (..=175, _) => {
            let steps = world.stub.steps();
            match steps.get(usize::from(pick) % steps.len().max(1)) {
                Some(step) => Step::Engine(*step),
                None => Step::StubReads(most),
            }
        }
        (..=179, _) => Step::ListNamespaces,
        (..=181, _) => Step::Ping,
        (..=189, _) | (_, None) => {
            let (bytes, datagrams) = (u64::from(pick % 64), u64::from(pick / 64 * 2));
            Step::Open(Credit { bytes, datagrams })
        }
        (..=193, Some(id)) => Step::Close(id),
        (..=217, Some(socket)) => {
            let length = usize::from(input.u8()) % MOST_DATAGRAM;
            Step::Send { socket, length, is_confirmed: op.is_multiple_of(2) }
        }
        (..=221, Some(id)) => Step::Join(id),
        (..=229, Some(id)) => match world.stub.is_receiving(id) {
            true => Step::Event(id, input.u8() % MOST_DATAGRAM as u8),
            false => Step::ListNamespaces,
        },
        (..=251, Some(id)) => Step::Receive(id),
        (_, Some(id)) => Step::Stall(id),
    }
}
