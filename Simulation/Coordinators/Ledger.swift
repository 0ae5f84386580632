import KafkaCoordination

/// What clients were told, and what follows from it for what they are told later.
final class Ledger: @unchecked Sendable {
    private struct Key: Hashable {
        var group: String
        var partition: Int32
    }

    private let world: World
    /// By group: the latest generation that a member was given partitions in.
    private var generations: [String: Int32] = [:]
    /// Owners in the latest generation.
    private var owners: [Key: String] = [:]
    private var acknowledged: [Key: Int64] = [:]
    private var sent: [Key: Int64] = [:]
    /// By group and instance: the member that holds it.
    private var instances: [String: (member: String, life: Int?)] = [:]

    init(_ world: World) { self.world = world }

    func generation(_ group: String) -> Int32 { self.generations[group] ?? 0 }

    /// A member was told its partitions.
    /// - Parameter member: its id, or that of its instance: a static member that comes back has what it had.
    func assigned(_ group: String, _ generation: Int32, _ member: String, _ partitions: [Int32]) throws {
        let latest = self.generation(group)
        if generation > latest {
            self.generations[group] = generation
            self.owners = self.owners.filter { $0.key.group != group }
        }
        guard generation >= latest else { return }
        for partition in partitions {
            let other = self.owners.updateValue(member, forKey: Key(group: group, partition: partition))
            if let other, other != member {
                throw Violation(
                    "\(group)-\(partition) belongs to \(other) and \(member) in generation \(generation)")
            }
        }
    }

    // MARK: Offsets

    func sends(_ group: String, _ partition: Int32, _ offset: Int64) {
        let key = Key(group: group, partition: partition)
        self.sent[key] = max(self.sent[key] ?? -1, offset)
    }

    /// - Parameter latest: the group's generation as it was known when the commit was sent.
    func committed(_ group: String, _ partition: Int32, _ offset: Int64, generation: Int32, latest: Int32) throws {
        if generation < latest {
            throw Violation("\(group)-\(partition): a commit of generation \(generation) is accepted in \(latest)")
        }
        let key = Key(group: group, partition: partition)
        self.acknowledged[key] = max(self.acknowledged[key] ?? -1, offset)
    }

    func acknowledged(_ group: String, _ partition: Int32) -> Int64 {
        self.acknowledged[Key(group: group, partition: partition)] ?? -1
    }

    /// - Parameter floor: what was acknowledged when it was asked for.
    func fetched(_ group: String, _ partition: Int32, _ offset: Int64, floor: Int64) throws {
        if offset < floor { throw Violation("\(group)-\(partition): offset \(offset) after \(floor) was acknowledged") }
        let key = Key(group: group, partition: partition)
        if offset > self.sent[key] ?? -1 {
            throw Violation("\(group)-\(partition): offset \(offset), which nobody has committed")
        }
    }

    // MARK: Static members

    /// - Parameter life: of the broker, which forgets it with that, unless the group's generation has been stored since.
    func joined(_ group: String, instance: String, member: String, life: Int) {
        self.instances["\(group)/\(instance)"] = (member, life)
    }

    /// A member was given its assignment: who is in the group is stored.
    func stored(_ group: String, instance: String?, member: String) {
        guard let instance, let known = self.instances["\(group)/\(instance)"], known.member == member else { return }
        self.instances["\(group)/\(instance)"] = (member, nil)
    }

    func holder(_ group: String, instance: String?, life: Int) -> String? {
        guard let instance, let known = self.instances["\(group)/\(instance)"] else { return nil }
        return known.life == nil || known.life == life ? known.member : nil
    }
}
