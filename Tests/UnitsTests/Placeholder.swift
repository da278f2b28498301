// UnitsTests
