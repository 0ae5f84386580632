import KafkaPrimitives

/// Members subscribe to different topics: what they may keep they keep, the rest goes to the least loaded
/// subscribers, topic by topic, and then partitions move from the most to the least loaded until no topic's
/// subscribers differ by more than one.
extension UniformAssignment {
    /// Topics whose subscribers overlap can take many rounds to settle; each round about halves the difference.
    private static var maxRounds: Int { 16 }

    mutating func assignHeterogeneous() {
        guard !self.topicIDs.isEmpty else { return }
        var subscribers = [[Int32]](repeating: [], count: self.topicIDs.count)
        var loads = [Int](repeating: 0, count: self.memberIDs.count)
        for index in self.memberIDs.indices {
            let member = self.member(index)
            for id in member.subscribedTopics {
                guard let topic = self.topicIndexes[id] else { continue }
                subscribers[topic].append(Int32(index))
                guard let assigned = member.current[id] else { continue }
                for partition in self.unowned(assigned, ofTopic: topic)
                where self.owners[topic][Int(partition)] < 0 {
                    self.owners[topic][Int(partition)] = Int32(index)
                    loads[index] += 1
                }
            }
        }
        var order = Array(self.topicIDs.indices)
        order.sort { self.isBefore($0, $1, subscribers) }
        self.assignUnowned(order, subscribers, &loads)
        self.balance(order.filter { subscribers[$0].count >= 2 }, subscribers, &loads)
    }

    /// Many partitions a subscriber first, then few subscribers, then by id, whose halves Java compares with a sign.
    private func isBefore(_ left: Int, _ right: Int, _ subscribers: [[Int32]]) -> Bool {
        let leftShare = Double(self.owners[left].count) / Double(subscribers[left].count)
        let rightShare = Double(self.owners[right].count) / Double(subscribers[right].count)
        if leftShare != rightShare { return leftShare > rightShare }
        if subscribers[left].count != subscribers[right].count {
            return subscribers[left].count < subscribers[right].count
        }
        let (first, second) = (self.topicIDs[left], self.topicIDs[right])
        return (Int64(bitPattern: first.high), Int64(bitPattern: first.low))
            < (Int64(bitPattern: second.high), Int64(bitPattern: second.low))
    }

    private mutating func assignUnowned(_ topics: [Int], _ subscribers: [[Int32]], _ loads: inout [Int]) {
        for topic in topics where self.owners[topic].contains(-1) {
            var balancer = MemberBalancer(subscribers[topic], loads: loads)
            for partition in self.owners[topic].indices where self.owners[topic][partition] < 0 {
                let member = balancer.nextLeastLoaded(loads)
                self.owners[topic][partition] = member
                loads[Int(member)] += 1
            }
        }
    }

    /// Goes round the topics until a whole round has moved nothing.
    private mutating func balance(_ topics: [Int], _ subscribers: [[Int32]], _ loads: inout [Int]) {
        var lastChanged = -1
        for _ in 0..<Self.maxRounds {
            for (position, topic) in topics.enumerated() {
                if position == lastChanged { return }
                let hasMoved = self.balance(topic, subscribers[topic], &loads)
                if hasMoved || lastChanged == -1 { lastChanged = position }
            }
        }
    }

    /// Moves partitions of one topic. Returns whether any was.
    private mutating func balance(_ topic: Int, _ subscribers: [Int32], _ loads: inout [Int]) -> Bool {
        var balancer = MemberBalancer(subscribers, loads: loads)
        guard balancer.difference(loads) > 1 else { return false }
        // Each member's partitions of the topic, of which the last one goes first.
        var owned = OwnedPartitions(self.owners[topic], memberCount: loads.count)
        var hasMoved = false
        while true {
            var from: Int32?
            while let candidate = balancer.nextMostLoaded(loads) {
                if owned.isEmpty(candidate) {
                    balancer.excludeMostLoaded()
                } else {
                    from = candidate
                    break
                }
            }
            guard let from else { return hasMoved }
            let partition = owned.takeLast(from)
            let target = balancer.nextLeastLoaded(loads)
            if balancer.isBalanced { return hasMoved }
            self.owners[topic][partition] = target
            loads[Int(from)] -= 1
            loads[Int(target)] += 1
            hasMoved = true
        }
    }
}

/// The partitions of a topic grouped by owner, in one list.
private struct OwnedPartitions {
    private var partitions: [Int32]
    private var starts: [Int]
    private var ends: [Int]

    init(_ owners: [Int32], memberCount: Int) {
        var counts = [Int](repeating: 0, count: memberCount)
        for owner in owners where owner >= 0 { counts[Int(owner)] += 1 }
        self.starts = []
        self.starts.reserveCapacity(memberCount)
        var start = 0
        for count in counts {
            self.starts.append(start)
            start += count
        }
        self.ends = self.starts
        self.partitions = Array(repeating: 0, count: start)
        for (partition, owner) in owners.enumerated() where owner >= 0 {
            self.partitions[self.ends[Int(owner)]] = Int32(partition)
            self.ends[Int(owner)] += 1
        }
    }

    func isEmpty(_ member: Int32) -> Bool { self.ends[Int(member)] <= self.starts[Int(member)] }

    mutating func takeLast(_ member: Int32) -> Int {
        self.ends[Int(member)] -= 1
        return Int(self.partitions[self.ends[Int(member)]])
    }
}
