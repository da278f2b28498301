// VolumesTests
