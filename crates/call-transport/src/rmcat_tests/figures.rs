//! What RFC 8868 asks about a run.

use call_lab::link::Direction;
use call_lab::network::Loss;
use call_lab::rmcat::{Case, Tcp};

use super::simulation::{Run, Trace};

/// Slots in a second.
const PER_S: usize = 10;
/// A flow has this long to find its place before shares are compared.
const SETTLED_S: u32 = 20;
/// Seconds after a step in which its consequences are looked for.
const LOOKED_S: u32 = 15;

/// See the module's text.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Figures {
    /// Of the capacity, everybody together, from two seconds after the first flow's start on.
    pub(super) utilisation: f64,
    /// Of that, the media's.
    pub(super) media: f64,
    /// Waited at the bottleneck by the media's packets, in milliseconds.
    pub(super) p50_ms: f64,
    pub(super) p95_ms: f64,
    /// Longest from a start or a rise to nine tenths of the capacity, in seconds.
    pub(super) rise_s: Option<f64>,
    /// Longest from a drop to an empty queue, in seconds.
    pub(super) drain_s: Option<f64>,
    /// Jain's index of the flows of one direction.
    pub(super) jain: Option<f64>,
    /// Lost of all of the media's packets.
    pub(super) loss: f64,
    /// Padding of all of the media's bits.
    pub(super) padding: f64,
    pub(super) paced_most_ms: f64,
}

fn sum(values: &[f64]) -> f64 {
    values.iter().sum()
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted
        .get((sorted.len() as f64 * share) as usize)
        .copied()
        .unwrap_or_default()
}

/// Bits of all flows of a direction, by slot.
fn together(case: &Case, run: &Run, direction: Direction) -> Vec<f64> {
    let slots = case.seconds as usize * PER_S;
    let mut bits = vec![0.0; slots];
    for (flow, trace) in case.flows.iter().zip(&run.flows) {
        if flow.direction == direction {
            for (sum, slot) in bits.iter_mut().zip(&trace.bits) {
                *sum += slot;
            }
        }
    }
    bits
}

/// First time from `slot` on that half a second brings nine tenths of the capacity.
fn rise_s(bits: &[f64], slot: usize, capacity_bps: f64) -> f64 {
    let window = PER_S / 2;
    let enough = 0.9 * capacity_bps * window as f64 / PER_S as f64;
    let end = (slot + LOOKED_S as usize * PER_S).min(bits.len() - window);
    let reached = (slot..end).find(|at| sum(&bits[*at..*at + window]) >= enough);
    (reached.map_or(end, |at| at + window) - slot) as f64 / PER_S as f64
}

/// First time from `slot` on that the queue was empty after having been full.
fn drain_s(trace: &Trace, slot: usize) -> f64 {
    let queue = &trace.least_queue_ms;
    let end = (slot + 5 * PER_S).min(queue.len());
    let worst = (slot..end)
        .filter(|at| queue[*at].is_some())
        .max_by(|a, b| queue[*a].partial_cmp(&queue[*b]).expect("no NaN"))
        .unwrap_or(slot);
    let gone = (worst..end).find(|at| queue[*at].is_some_and(|ms| ms < 10.0));
    (gone.unwrap_or(end) + 1 - slot) as f64 / PER_S as f64
}

fn jain(case: &Case, run: &Run) -> Option<f64> {
    let is_there = |flow: &&(usize, &call_lab::rmcat::Flow)| flow.1.direction == Direction::There;
    let flows: Vec<_> = case.flows.iter().enumerate().collect();
    let flows: Vec<_> = flows.iter().filter(is_there).collect();
    if flows.len() < 2 {
        return None;
    }
    let latest = flows.iter().map(|(_, flow)| flow.seconds.0).max()?;
    let resumed = flows
        .iter()
        .filter_map(|(_, flow)| flow.pause)
        .map(|it| it.1);
    let from = resumed.max().unwrap_or(latest) + SETTLED_S;
    let to = flows.iter().map(|(_, flow)| flow.seconds.1).min()?;
    let range = from as usize * PER_S..to as usize * PER_S;
    let rates: Vec<f64> = flows
        .iter()
        .map(|(index, _)| sum(&run.flows[*index].bits[range.clone()]))
        .collect();
    let squares: f64 = rates.iter().map(|rate| rate * rate).sum();
    Some(sum(&rates).powi(2) / (rates.len() as f64 * squares))
}

pub(super) fn figures(case: &Case, run: &Run) -> Figures {
    let first = case
        .flows
        .iter()
        .map(|flow| flow.seconds.0)
        .min()
        .unwrap_or(0);
    let (mut media_bits, mut capacity_bits) = (0.0, 0.0);
    let (mut rises, mut drains) = (Vec::new(), Vec::new());
    for direction in Direction::BOTH {
        let flows = case.flows.iter().zip(&run.flows);
        let own: Vec<_> = flows
            .filter(|(flow, _)| flow.direction == direction)
            .collect();
        if own.is_empty() {
            continue;
        }
        let bits = together(case, run, direction);
        media_bits += sum(&bits[(first as usize + 2) * PER_S..]);
        let seconds = first + 2..case.seconds;
        capacity_bits += seconds
            .map(|second| case.capacity_bps(direction, second) as f64)
            .sum::<f64>();
        let alone = case.tcp == Tcp::None
            && case.loss == Loss::None
            && own.iter().all(|(flow, _)| flow.most_bps.is_none());
        let capacity = |second| case.capacity_bps(direction, second) as f64;
        if alone {
            rises.push(rise_s(&bits, first as usize * PER_S, capacity(first)));
        }
        for pair in case.capacity[direction as usize].windows(2) {
            let ((_, before), (second, after)) = (pair[0], pair[1]);
            let slot = second as usize * PER_S;
            if after > before && alone {
                rises.push(rise_s(&bits, slot, after as f64));
            } else if after < before {
                let worst = own.iter().map(|(_, trace)| drain_s(trace, slot));
                drains.push(worst.fold(0.0, f64::max));
            }
        }
    }
    let mut queue_ms: Vec<f64> = run
        .flows
        .iter()
        .flat_map(|trace| trace.queue_ms.iter().copied())
        .collect();
    queue_ms.sort_by(f64::total_cmp);
    let of = |value: fn(&Trace) -> f64| run.flows.iter().map(value).sum::<f64>();
    let sent = of(|trace| trace.sent as f64);
    Figures {
        utilisation: (media_bits + sum(&run.tcp_bits[(first as usize + 2) * PER_S..]))
            / capacity_bits,
        media: media_bits / capacity_bits,
        p50_ms: quantile(&queue_ms, 0.5),
        p95_ms: quantile(&queue_ms, 0.95),
        rise_s: rises.into_iter().reduce(f64::max),
        drain_s: drains.into_iter().reduce(f64::max),
        jain: jain(case, run),
        loss: (sent - of(|trace| trace.arrived as f64)).max(0.0) / sent,
        padding: of(|trace| trace.padding_bits) / of(|trace| sum(&trace.bits)),
        paced_most_ms: run
            .flows
            .iter()
            .map(|trace| trace.paced_most_ms)
            .fold(0.0, f64::max),
    }
}
