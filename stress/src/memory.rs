//! How much memory the process holds, where the system tells.

use std::{fs, sync::Arc};

use tokio::time::sleep;

use crate::{policies::ms, world::World};

/// For noise: an allocator keeps the pages of the busiest moment so far, in an arena for each thread, so a new busiest moment shows
/// although nothing leaks. Between the middles of the halves of 10 s there are some 400,000 calls on two cores, so a leak of
/// 16 bytes a call, the least that can be allocated, is beyond it; what leaks more seldom takes a longer run to show.
const ALLOWANCE: u64 = 4 << 20;

/// Resident, in bytes. `VmRSS` is in kilobytes whatever the size of a page, so it is easier to read than `statm`.
pub fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

/// Looks ten times a second, until the world is calm.
pub async fn record(world: Arc<World>) -> Vec<u64> {
    let mut samples = Vec::with_capacity(1 << 16);
    while !world.is_calm() {
        sleep(ms(100)).await;
        samples.extend(resident());
    }
    samples
}

/// Whether the second half holds no more than the first, and what it says. The first fifth is left out: until then buffers grow to
/// the size that the traffic needs.
pub fn verdict(samples: &[u64]) -> (bool, String) {
    let warm = &samples[samples.len() / 5..];
    let (first, second) = warm.split_at(warm.len() / 2);
    let (Some(first), Some(second)) = (median(first), median(second)) else {
        return (true, "memory: not checked, for the system does not tell".into());
    };
    let [first_mib, second_mib] = [first, second].map(|bytes| bytes as f64 / f64::from(1 << 20));
    let noise = ALLOWANCE >> 20;
    let says = format!(
        "memory does not grow: {first_mib:.1} MiB in the first half, {second_mib:.1} in the second; {noise} are allowed for noise"
    );
    (second <= first + ALLOWANCE, says)
}

fn median(samples: &[u64]) -> Option<u64> {
    let mut samples = samples.to_vec();
    samples.sort_unstable();
    samples.get(samples.len() / 2).copied()
}
