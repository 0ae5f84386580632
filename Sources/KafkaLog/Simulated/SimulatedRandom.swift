#if OTTLA_SIMULATED_FILES
    /// Numbers that follow from a seed (SplitMix64).
    package struct SimulatedRandom {
        package var state: UInt64

        package init(_ seed: UInt64) { self.state = seed }

        @inline(__always) package mutating func next() -> UInt64 {
            self.state &+= 0x9E37_79B9_7F4A_7C15
            var z = self.state
            z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            return z ^ (z >> 31)
        }

        /// 0..<limit; 0 where the limit is not above it.
        @inline(__always) package mutating func below(_ limit: Int) -> Int {
            limit <= 1 ? 0 : Int((self.next() >> 32).multipliedFullWidth(by: UInt64(limit) << 32).high)
        }

        /// True once in so many times.
        @inline(__always) package mutating func oneIn(_ count: Int) -> Bool { self.below(count) == 0 }
    }
#endif
