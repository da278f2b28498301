// ParityTests
