/// The version that `ashlar --version` and the control socket tell.
package let ashlarVersion = "0.1.0"
