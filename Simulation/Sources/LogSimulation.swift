import KafkaPrimitives
import KafkaRecords
import Synchronization

@testable import KafkaLog

/// Jobs of the log that wait until the seed says that it is their turn.
final class Jobs: BackgroundExecutor, @unchecked Sendable {
    private var jobs: [@Sendable () -> Void] = []
    var count: Int { self.jobs.count }

    func submit(_ job: @escaping @Sendable () -> Void) { self.jobs.append(job) }

    func run(_ index: Int) { self.jobs.remove(at: index)() }

    func drop() { self.jobs = [] }
}

/// The folder has failed, and its partitions are not served.
struct Offline: Error {}

struct Totals {
    var steps = 0
    var crashes = 0
    var powerCuts = 0
    /// Those of them with ottla.flush.before.ack on a partition.
    var syncedCuts = 0
    var faults = 0
}

/// One seed: a log folder on a simulated disk, random steps, and the model that is compared with it after each.
final class LogSimulation {
    static let path = "/data"

    let seed: UInt64
    let profile: Profile
    var random: SimulatedRandom
    let disk: SimulatedDisk
    var jobs = Jobs()
    /// Of the pool that reads for event loops.
    var readJobs = Jobs()
    /// Of the thread that writes while a disk is slow.
    var writeJobs = Jobs()
    var manager: LogManager?
    var partitions: [PartitionModel] = []
    var encoder = BatchEncoder()
    var totals = Totals()
    var unique: UInt64 = 0
    var buffer: [UInt8] = []
    var doubtfulTimes: [Int64] = []
    /// Reads that are held on to while the log goes on.
    var held: [(slice: FileSlice, expected: [UInt8], step: Int)] = []
    /// What was done, where somebody wants to read it.
    var trace: [String]?
    var step = 0
    /// Notices of the log, for the trace.
    let notices = Notices()

    let acknowledgements = Acknowledgements()

    final class Notices: @unchecked Sendable {
        var lines: [String] = []
        var isWanted = false
    }

    init(seed: UInt64, isTraced: Bool) {
        self.seed = seed
        self.random = SimulatedRandom(seed &* 0xD134_2543_DE82_EF95 &+ 0x1234_5678)
        self.profile = Profile(&self.random)
        self.disk = SimulatedDisk(
            seed: self.random.next(), pageShift: self.profile.pageShift, isStrict: self.profile.isStrict,
            fillsWithGarbage: self.profile.fillsWithGarbage)
        self.disk.slowOneIn = self.profile.slowOneIn
        self.disk.shortWriteOneIn = self.profile.shortWriteOneIn
        self.trace = isTraced ? [] : nil
        self.notices.isWanted = isTraced
    }

    func note(_ what: @autoclosure () -> String) {
        if self.trace != nil { self.trace!.append("\(self.step)  \(what())") }
    }

    func log(_ model: PartitionModel) throws -> PartitionLog {
        if let log = self.manager?.log(for: model.partition) { return log }
        if self.disk.isStopped || self.disk.faults > self.totals.faults || model.isImpaired { throw Offline() }
        throw Disagreement("\(model.partition) is not there")
    }

    // MARK: the run

    /// - Parameter skipping: steps that are left out.
    func run(steps: Int, skipping: Set<Int> = []) throws {
        SimulatedDisk.current = self.disk
        self.reseed()
        for number in 0..<self.profile.partitions {
            self.partitions.append(
                PartitionModel(
                    TopicPartition(topic: "t\(number)", partition: 0), KafkaUUID(high: 7, low: UInt64(number + 1)),
                    self.profile.config(&self.random)))
        }
        try self.start(after: .nothing)
        while self.step < steps {
            self.step += 1
            if skipping.contains(self.step) { continue }
            self.reseed()
            self.totals.steps += 1
            try self.doStep()
        }
        self.step += 1
        self.reseed()
        do { try self.end() } catch is Offline { self.note("offline") }
    }

    /// Each step has its own numbers, so that it stays what it is when others are left out.
    private func reseed() {
        self.random = SimulatedRandom(self.seed &* 0x9E37_79B9_7F4A_7C15 ^ UInt64(self.step) &* 0xBF58_476D_1CE4_E5B9)
        self.disk.random = SimulatedRandom(self.random.next())
    }

    private func end() throws {
        self.note("the end: closed and opened again")
        try self.restartCleanly()
        for model in self.partitions where model.exists { try self.verify(model) }
        self.held = []
        if self.partitions.contains(where: { $0.isImpaired }) { return }
        if self.random.oneIn(2) { try self.flipBits() }
        self.manager?.shutdown()
        while self.jobs.count > 0 { self.jobs.run(0) }
        self.manager = nil
        self.jobs = Jobs()
        guard self.disk.openFiles == 0 else {
            throw Disagreement("\(self.disk.openFiles) files are open though nobody has one")
        }
    }

    func dispose() {
        self.held = []
        self.jobs.drop()
        self.manager = nil
    }

    // MARK: start and end of the process

    enum Ending { case nothing, clean, kill, powerCut }

    /// Opens the folder; what it finds must go with the model.
    func start(after ending: Ending) throws {
        var ending = ending
        var failedSyncs = self.disk.failedSyncs
        for attempt in 0... {
            // A start may be cut short itself, or meet a disk that fails.
            if attempt < 3, ending != .nothing {
                if self.random.oneIn(4) {
                    self.disk.stopsAfter = self.disk.changes + self.random.below(15)
                } else if self.profile.hasFaults, self.random.oneIn(8) {
                    self.arm(kinds: .all, within: 30)
                }
            }
            var failure: (any Error)?
            do { try self.open() } catch let error as Disagreement {
                throw error
            } catch {
                failure = error
            }
            if self.trace != nil {
                for line in self.notices.lines { self.note("      (\(line))") }
                self.notices.lines = []
            }
            if self.disk.failedSyncs > failedSyncs {
                // What was not on the disk may be lost, as in a power cut.
                failedSyncs = self.disk.failedSyncs
                ending = .powerCut
            }
            if self.disk.isStopped {
                self.note("   stopped while it starts")
                ending = self.endProcess(self.random.oneIn(2) ? .kill : .powerCut, before: ending)
                continue
            }
            let wasFaulty = self.disk.faults > self.totals.faults
            self.totals.faults = self.disk.faults
            self.disk.fault = nil
            self.disk.stopsAfter = .max
            if let failure {
                guard wasFaulty else { throw Disagreement("the start fails: \(failure)") }
                self.note("   the start fails: \(failure)")
                ending = self.endProcess(self.random.oneIn(3) ? .powerCut : .kill, before: ending)
                continue
            }
            for model in self.partitions { try self.reconcile(model, after: ending, isImpaired: wasFaulty) }
            return
        }
    }

    /// Opens the folder in a new process.
    func open() throws {
        var configuration = LogManager.Configuration(directories: [Self.path], nodeID: 1, clusterID: "simulated")
        configuration.retentionCheckIntervalMs = .max / 4
        configuration.producerIDExpirationMs = self.profile.producerExpirationMs
        configuration.producerIDExpirationCheckIntervalMs = .max / 4
        configuration.recoveryThreadsPerDirectory = 1
        configuration.openSegmentLimit = self.profile.openSegmentLimit
        configuration.writebackBytes = self.profile.writebackBytes
        configuration.cleaner.dedupeBufferBytes = self.profile.dedupeBytes
        let topicIDs = Dictionary(uniqueKeysWithValues: self.partitions.map { ($0.partition.topic, $0.topicID) })
        let configs = Dictionary(uniqueKeysWithValues: self.partitions.map { ($0.partition.topic, $0.config) })
        self.jobs = Jobs()
        self.readJobs = Jobs()
        self.acknowledgements.waiting = [:]
        let (notices, acknowledgements) = (self.notices, self.acknowledgements)
        let writeJobs = Jobs()
        self.writeJobs = writeJobs
        let manager = try LogManager.open(
            configuration, background: self.jobs, reads: ReadPool(executor: self.readJobs),
            writers: FolderWriters { writeJobs }, now: self.disk.clock,
            report: { notice in if notices.isWanted { notices.lines.append(notice.message) } })
        self.manager = manager
        manager.events.onRelease { acknowledgements.released += $0 }
        manager.events.onAppend { acknowledgements.appended.append($0) }
        // By its own step alone.
        manager.schedule.withLock { $0.retention = .max }
        _ = try manager.load(
            now: self.disk.clock, topicID: { topicIDs[$0] },
            config: { topic, _ in configs[topic] ?? LogConfig() })
        try self.createMissing()
    }

    private func createMissing() throws {
        guard let manager = self.manager else { return }
        for model in self.partitions {
            // Of a topic of the same name that is no more.
            if let log = manager.log(for: model.partition), log.topicID != model.topicID {
                self.note("   \(model.partition) is of a topic that is no more")
                try manager.delete(model.partition, now: self.disk.clock)
            }
            if manager.log(for: model.partition) != nil { continue }
            let log = try manager.create(
                model.partition, topicID: model.topicID, config: model.config, now: self.disk.clock)
            if model.exists, !self.disk.isStopped {
                // Its folder is gone: of what was not deleted nothing may have been promised.
                guard model.promised <= model.start else {
                    throw Disagreement("\(model.partition): its folder is gone, with \(model.promised) promised")
                }
                model.promised = 0
                _ = log
            }
        }
    }

    /// What an earlier ending that nobody has looked at yet and this one come to.
    private func endProcess(_ ending: Ending, before: Ending) -> Ending {
        self.stopProcess(ending)
        return before == .powerCut || ending == .powerCut ? .powerCut : .kill
    }

    private func noteFiles() {
        guard self.trace != nil else { return }
        for model in self.partitions {
            for (name, file) in self.disk.files(in: Self.path + "/" + model.partition.description) {
                self.note("      \(name): \(file.size), durable \(file.durableSize)")
            }
        }
    }

    private func stopProcess(_ ending: Ending) {
        self.takeAcknowledgements()
        self.held = []
        self.jobs.drop()
        self.disk.stopsAfter = 0
        self.manager = nil
        if ending == .powerCut {
            self.countPowerCut()
            let keep = [0, 0, 8, self.random.below(8), self.random.below(8)][self.random.below(5)]
            self.note("   power cut, \(keep) of 8 are kept")
            self.noteFiles()
            self.disk.cutPower(keep: keep)
            self.note("   after it:")
            self.noteFiles()
        } else {
            self.totals.crashes += 1
            self.note("   killed")
            let marks = self.disk.file(Self.path + "/" + BootMarks.name).map { BootMarks.decode(Array($0.bytes)).size }
            if marks ?? 0 == 0 {
                // They had to go, and with them what they alone knew.
                for model in self.partitions { model.markedStart = min(model.markedStart, model.durableStart) }
            }
            self.disk.restartProcess()
        }
        self.noteFolder()
    }

    private func countPowerCut() {
        self.totals.powerCuts += 1
        if self.partitions.contains(where: { $0.config.flushBeforeAck }) { self.totals.syncedCuts += 1 }
    }

    /// The data folder's own files, for the trace.
    private func noteFolder() {
        guard self.trace != nil else { return }
        let files = self.disk.files(in: Self.path).map { "\($0.name) \($0.file.size)" }
        self.note("      \(files.joined(separator: ", "))")
    }

    /// The process ends without a word.
    func crash(_ ending: Ending) throws {
        self.stopProcess(ending)
        try self.start(after: ending)
    }

    func restartCleanly() throws {
        guard let manager = self.manager else { return }
        let isClean = manager.shutdown()
        if try self.endIfStopped() { return }
        let faulty = self.noteFaults()
        if !faulty, !self.partitions.contains(where: { $0.isImpaired }) {
            guard isClean else { throw Disagreement("the shutdown is not clean: \(self.notices.lines)") }
        }
        if isClean {
            for model in self.partitions {
                model.promised = model.end
                model.markedStart = model.start
                model.durableStart = model.start
            }
        }
        self.noteFiles()
        self.held = []
        // Jobs that are late meet a log that is closed.
        while self.jobs.count > 0 { self.jobs.run(self.random.below(self.jobs.count)) }
        self.manager = nil
        if self.random.oneIn(3) {
            self.countPowerCut()
            self.note("   and the power goes")
            self.disk.cutPower(keep: 0)
        } else {
            self.disk.restartProcess()
        }
        try self.start(after: isClean && !faulty ? .clean : .powerCut)
    }

    /// Where the process has been stopped in the midst of something, it ends, and what it left is looked at.
    func endIfStopped() throws -> Bool {
        guard self.disk.isStopped else { return false }
        if self.disk.faults > self.totals.faults || self.partitions.contains(where: { $0.isImpaired }) {
            // A sync may have failed, and a kill is then no better than a power cut.
            try self.crash(.powerCut)
        } else {
            try self.crash(self.random.oneIn(2) ? .kill : .powerCut)
        }
        return true
    }

    /// After a failed sync nothing is believed that was not synced before. A log that says so is opened anew.
    func endIfFailed() throws -> Bool {
        var hasFailed = false
        for model in self.partitions {
            let log = self.manager?.log(for: model.partition)
            guard log?.state.withLock({ $0.status == .failed }) ?? true else { continue }
            self.note("   \(model.partition) takes no more")
            hasFailed = true
        }
        guard hasFailed else { return false }
        try self.startAnew()
        return true
    }

    /// After something failed for good.
    func startAnew() throws {
        _ = self.noteFaults()
        let ending: Ending = self.random.oneIn(2) ? .kill : .powerCut
        self.stopProcess(ending)
        try self.start(after: .powerCut)
    }

    /// Whether calls have failed since the last time.
    func noteFaults() -> Bool {
        guard self.disk.faults > self.totals.faults else { return false }
        self.totals.faults = self.disk.faults
        for model in self.partitions { model.isImpaired = true }
        return true
    }

    func arm(kinds: SimulatedDisk.Kinds, within: Int) {
        let code: CInt = [5, 28, 5][self.random.below(3)]
        self.disk.fault = SimulatedDisk.Fault(
            kinds: code == 28 ? [.write, .open, .mkdir] : kinds, after: self.random.below(within),
            count: 1 + self.random.below(3), code: code)
        self.note(
            "   calls will fail: \(self.disk.fault!.kinds.rawValue), code \(code), after \(self.disk.fault!.after)")
    }
}
