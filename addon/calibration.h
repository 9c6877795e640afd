// What a hit costs on this host, by how the kernel carries out the probed instruction.
#pragma once

#include <optional>

struct CalibrationOptions {
    bool multi = false;
    // A process id reaches all threads of a process; else it is the id of one.
    bool multi_threads = false;
    bool session = false;
    bool writes_registers = false;
    // Programs that will be attached may sleep, which is another way to call them.
    bool sleepable = false;
};

// Nanoseconds that a hit with an empty program adds, median of several rounds.
struct Calibration {
    double push = 0;
    double jump = 0;
    double move = 0;
    double ret = 0;
    // Both ends of a call with a session probe, its entry on a push.
    std::optional<double> session;
    // A ret that the program carries out.
    std::optional<double> carried_out;
    // A hit on a push while another thread makes hits too.
    double beside = 0;
};

// Measures once in this process and gives the same answer from then on. Takes milliseconds; probes
// are taken back by another thread, which takes longer.
Calibration calibrate(const CalibrationOptions &options);
