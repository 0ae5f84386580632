import Synchronization

extension PartitionLog {
    /// The damage that kept `read` from an offset; nil where it was something else. Whoever can do without what is damaged
    /// (a coordinator that loads its groups) goes on behind it.
    package func damage(at offset: Int64) -> DamagedRange? {
        let (sealed, active) = self.state.withLock { state -> (SealedSegment?, SegmentChecks?) in
            guard state.status == .open else { return (nil, nil) }
            if let index = state.sealedIndex(of: offset) { return (state.sealed[index], nil) }
            return (nil, state.active.checks)
        }
        return (sealed?.checksForNotes() ?? active)?.damage(at: offset, now: wallClockMs())
    }
}
