import KafkaPrimitives

@testable import KafkaLog

/// Topics that are deleted and made anew.
extension LogSimulation {
    func recreate(_ model: PartitionModel) throws {
        guard let manager = self.manager else { return }
        self.note("\(model.partition): deleted, and another topic of the name made")
        self.acknowledgements.forget(from: 0, self.index(of: model))
        // Reads that are held go on.
        let before = model.end
        model.doubtfulRestart = 0
        model.recreateID()
        model.promised = 0
        model.durableStart = 0
        model.markedStart = 0
        do {
            try manager.delete(model.partition, now: self.disk.clock)
            guard manager.log(for: model.partition) == nil else {
                throw Disagreement("\(model.partition) is deleted, and there")
            }
            let log = try manager.create(
                model.partition, topicID: model.topicID, config: model.config, now: self.disk.clock)
            guard log.topicID == model.topicID, log.logEndOffset == 0, log.snapshot.logStartOffset == 0 else {
                throw Disagreement("\(model.partition) is new, and has \(log.snapshot), the old one \(before)")
            }
        } catch let error as Disagreement {
            if self.disk.isStopped || self.isExcused(model) { return try self.crash(.powerCut) }
            throw error
        } catch {
            guard self.isExcused(model) else { throw Disagreement("deletion or creation: \(error)") }
            self.note("   fails: \(error)")
            return try self.crash(.powerCut)
        }
        if self.disk.isStopped { return }
        let isFaulty = self.noteFaults()
        model.recreate()
        model.doubtfulRestart = nil
        model.activeCreated = self.disk.clock
        if isFaulty { try self.crash(.powerCut) }
    }
}
